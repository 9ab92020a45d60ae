"""The losses and inputs of tests/ops, on a device."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from .part import REPOSITORY, Part, Skip

TESTS = REPOSITORY / "tests" / "ops"
SHAPE, QUICK_SHAPE = (96, 1003), (7, 37)


def loss_cases(part: Part) -> list:
    """Of part's size: Case objects of tests/ops/loss_cases.py."""
    if not (TESTS / "loss_cases.py").exists():
        raise Skip("needs tests/ops: run it from a checkout")
    sys.path.insert(0, str(TESTS))
    import loss_cases

    return list(loss_cases.ONE_EACH if part.quick else loss_cases.CASES)


def inputs_on(part: Part, case, dtype: torch.dtype, seed: int, device: str | None = None):
    """Fresh inputs of the case."""
    rows, columns = QUICK_SHAPE if part.quick else SHAPE
    made = case.inputs(rows, columns, dtype, seed=seed)
    return made.change(lambda x: x.to(device or part.device))


def outcome(case, inputs) -> dict[str, Tensor]:
    """The loss and its gradients, by the library's kernels."""
    from fastlt import ops

    return case.value_and_gradients(ops, inputs)


def overwrite(inputs, others) -> None:
    """The values of `others`, in the memory of `inputs`."""
    for name in ("learnt", "given"):
        for key, x in getattr(inputs, name).items():
            x.copy_(getattr(others, name)[key])


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """To the bit: the kernels are deterministic."""
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=0, equal_nan=True, msg=lambda text, n=name: f"{n}: {text}"
        )
