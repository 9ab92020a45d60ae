"""One launch of one kernel: its arrays, its arguments, and what came out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np
from interpreter import Heap, Kernel, Statistics, arithmetic, launch

from .names import Name

WARP, BLOCK = 32, 256
# What a result of each type may differ by: relative, and absolute for values near zero.
TOLERANCE = {"fp32": (1e-5, 2e-6), "bf16": (2.0**-8, 1e-6), "fp16": (2.0**-10, 2e-6)}


@dataclass(frozen=True)
class Shape:
    """rows x columns; `dressed` gives kernels their optional inputs, `offset` moves arrays off their alignment."""

    rows: int
    columns: int
    dressed: int = 0
    offset: bool = False


@dataclass
class Outcome:
    """least: bytes that any kernel must move for this: each input and each output once."""

    statistics: Statistics
    least: int
    elements: int
    threads: int  # of a block
    results: list[tuple[str, np.ndarray, np.ndarray, tuple[float, float]]] = field(default_factory=list)

    def check(self) -> None:
        for name, found, truth, (relative, absolute) in self.results:
            scale = absolute * max(1.0, float(np.abs(truth[np.isfinite(truth)]).max(initial=0)))
            np.testing.assert_allclose(found, truth, rtol=relative, atol=scale, err_msg=name)

    @property
    def ratio(self) -> float:
        """Bytes that threads asked for, over the least."""
        return self.statistics.requested / self.least


class Bench:
    def __init__(self, kernel: Kernel, name: Name, shape: Shape) -> None:
        self.kernel, self.name, self.shape = kernel, name, shape
        self.random = np.random.default_rng(shape.rows * 10_007 + shape.columns)
        self.heap = Heap(1 << 20)
        self.least = 0
        self.statistics: Statistics | None = None
        self.outputs: list[tuple] = []
        self.threads = 0

    # ---- arrays

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """float64, exactly representable in the kernel's type."""
        return decode(encode(self.random.standard_normal(shape) * scale, self.name.type), self.name.type)

    def give(self, array: np.ndarray, kind: str | None = None, count: bool = True) -> int:
        """Address of an input; floating arrays are stored as `kind`, fp32 if not given."""
        stored = encode(array, kind or "fp32") if array.dtype.kind == "f" else array
        self.least += stored.nbytes if count else 0
        return self.heap.put(stored, stored.itemsize if self.shape.offset and self.name.width == 1 else 0)

    def want(self, name: str, truth: np.ndarray, kind: str = "fp32", tolerance: str | None = None) -> int:
        """Address of an output that shall become the truth."""
        like = encode(np.zeros(truth.shape), kind)
        self.least += like.nbytes
        address = self.heap.reserve(like.nbytes, like.itemsize if self.shape.offset and self.name.width == 1 else 0)
        self.outputs.append((name, address, like, np.asarray(truth, np.float64), kind, tolerance or kind))
        return address

    def in_place(self, name: str, before: np.ndarray, truth: np.ndarray) -> int:
        """Address of fp32 values that the kernel overwrites."""
        address = self.give(before)
        like = encode(np.zeros(truth.shape), "fp32")
        self.least += like.nbytes
        self.outputs.append((name, address, like, truth, "fp32", "fp32"))
        return address

    # ---- the launch

    def row_block(self, columns: int) -> int:
        """As the host code chooses it: a thread for each pack of a row, in whole warps, at most a block."""
        packs = -(-columns // self.name.width)
        return min(max(-(-packs // WARP) * WARP, WARP), BLOCK)

    def launch(self, grid, block, *arguments: int | float | ctypes.Structure) -> None:
        """Structures go as their bytes."""
        self.threads = int(np.prod(block))
        values = [bytes(value) if isinstance(value, ctypes.Structure) else value for value in arguments]
        self.statistics = launch(self.kernel, grid, block, self.heap, values)

    def outcome(self) -> Outcome:
        rows, columns = self.shape.rows, self.shape.columns
        outcome = Outcome(self.statistics, self.least, rows * columns, self.threads)
        for name, address, like, truth, kind, tolerance in self.outputs:
            found = decode(self.heap.get(address, like), kind)
            if name.startswith("partial"):  # sums over walkers; what one of them holds is nobody's business
                found = found.sum(0)
                truth = truth.sum(0)
            outcome.results.append((f"{self.name} {self.shape}: {name}", found, truth, TOLERANCE[tolerance]))
        return outcome


def encode(values: np.ndarray, kind: str) -> np.ndarray:
    """As they lie in memory; bf16 as its bits."""
    single = np.asarray(values, np.float32)
    if kind == "bf16":
        return arithmetic.to_bfloat16(single)
    return single.astype(np.float16) if kind == "fp16" else single


def decode(stored: np.ndarray, kind: str) -> np.ndarray:
    """float64"""
    return (arithmetic.from_bfloat16(stored) if kind == "bf16" else stored).astype(np.float64)
