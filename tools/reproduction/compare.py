"""Rows against a baseline: differences between runs of the same seed, so that what a seed brings is left out."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev


@dataclass(frozen=True)
class Difference:
    """Mean of the paired differences and its standard error, which one pair does not have; in the metric's unit."""

    mean: float
    error: float | None
    pairs: int

    @property
    def verdict(self) -> str:
        """Whether a row is above: by more than one standard error, or at all where there is one pair alone."""
        if self.error is None:
            return "yes (one seed)" if self.mean > 0 else "no (one seed)"
        return "yes" if self.mean > self.error else "no"


def paired(row: dict, other: dict, metric: str) -> Difference | None:
    """Of two rows of a table; None if they share no seed."""
    own, theirs = ({run["seed"]: run["metrics"].get(metric) for run in one["runs"]} for one in (row, other))
    gains = [own[seed] - theirs[seed] for seed in own if None not in (own[seed], theirs.get(seed)) and seed in theirs]
    if not gains:
        return None
    return Difference(mean(gains), stdev(gains) / sqrt(len(gains)) if len(gains) > 1 else None, len(gains))
