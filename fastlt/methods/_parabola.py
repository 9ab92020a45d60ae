"""The parabola by which a run moves from one goal to another: Zhou et al., CVPR 2020, and Wang et al., CVPR 2021."""

from __future__ import annotations

import math

from fastlt.progress import Progress


def falling(progress: Progress, whole_epochs: bool) -> float:
    """1 - (T / T_max)^2, T the epoch: 1 at first, falling, and above 0 to the last step.

    Of whole epochs, T counts those that are complete and T_max those that the run begins.
    """
    if not whole_epochs:
        return 1 - (progress.step / progress.steps) ** 2
    last = progress.epochs * (progress.steps - 1) / progress.steps  # where the last step begins
    return 1 - (_complete(progress.epoch) / (_complete(last) + 1)) ** 2


def _complete(epoch: float) -> int:
    """Complete epochs; a whole number of them may come a rounding error short."""
    return math.floor(epoch + 1e-9)
