"""Which kernel a mangled name stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import toolkit

TYPES = {"double": "fp64", "float": "fp32", "c10::BFloat16": "bf16", "c10::Half": "fp16"}
ONE_BY_ONE = ("sum_rows", "anchor_rows")  # have no width among their arguments


@dataclass(frozen=True, order=True)
class Name:
    """sigmoid_rows<float, 4, (Form)1>: family "sigmoid_rows", arguments ("fp32", "4", "1")."""

    family: str
    arguments: tuple[str, ...]

    @property
    def type(self) -> str:
        """Of what the kernel reads mostly: fp64, fp32, bf16 or fp16."""
        return self.arguments[0]

    @property
    def double(self) -> bool:
        """Whether it computes in double precision."""
        return "fp64" in self.arguments

    @property
    def width(self) -> int:
        """Elements that a thread takes at once."""
        if self.family == "sum_partials":
            return 1 if self.double else 4
        return 1 if self.family in ONE_BY_ONE else self._numbers()[0]

    @property
    def flags(self) -> tuple[int, ...]:
        """The other arguments, as numbers."""
        return self._numbers() if self.family in ONE_BY_ONE else self._numbers()[1:]

    def _numbers(self) -> tuple[int, ...]:
        return tuple(int(value) for value in self.arguments if value.isdigit())

    def __str__(self) -> str:
        return f"{self.family}<{', '.join(self.arguments)}>"


def identify(mangled: list[str]) -> dict[str, Name]:
    """Mangled name -> Name, for our kernels."""
    known = {}
    for key, text in toolkit.demangled(mangled).items():
        found = re.match(r"void fastlt::gpu::(\w+)<(.*)>\(", text)
        if found:
            words = (re.sub(r"\(.*\)", "", word.strip()) for word in found[2].split(", "))
            numbers = {"true": "1", "false": "0"}
            known[key] = Name(found[1], tuple(TYPES.get(word, numbers.get(word, word)) for word in words))
    return known
