"""CUDA graphs: forward and backward of every loss captured on a side stream, replayed with other values."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .capture import captured
from .cases import assert_equal, inputs_on, loss_cases, outcome, overwrite
from .part import Part, main

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
REPLAYS = 3


def run(part: Part) -> None:
    part.require_kernels()
    for case in loss_cases(part):
        for dtype in DTYPES[: 1 if part.quick else None]:
            part.attempt(f"{case.name} {dtype}", lambda case=case, dtype=dtype: _replays(part, case, dtype))
    part.details["replays of each"] = REPLAYS


def _replays(part: Part, case, dtype: torch.dtype) -> None:
    fixed = inputs_on(part, case, dtype, seed=0)
    results, replay = _captured(part, lambda: outcome(case, fixed))
    for seed in range(1, REPLAYS + 1):
        fresh = inputs_on(part, case, dtype, seed)
        overwrite(fixed, fresh)
        replayed = replay() or results
        assert_equal(replayed, outcome(case, fresh))


def _captured(part: Part, work: Callable[[], dict]) -> tuple[dict, Callable[[], dict | None]]:
    """Where the results of a capture stand, and what fills them anew. Without a GPU the work is simply done again."""
    return captured(work) if part.on_gpu else ({}, work)


if __name__ == "__main__":
    main(run)
