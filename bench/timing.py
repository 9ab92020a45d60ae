"""Rates measured in turn, so that a machine whose speed drifts treats all contestants alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

ROUNDS = 7


def rates_in_turn(contestants: dict[str, Callable[[], int]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Calls each contestant once to warm up, then all of them in turn; gives units per second of each round.

    A contestant does a piece of work and returns how many units it was.
    """
    for work in contestants.values():
        work()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            begin = time.perf_counter()
            units = work()
            rates[name].append(units / (time.perf_counter() - begin))
    return rates


def case(name: str, rates: dict[str, list[float]], unit: str, reference: str) -> dict:
    """Median rate with its range, and the median over rounds of the ratio to the reference."""
    ratios = [own / other for own, other in zip(rates[name], rates[reference], strict=True)]
    return {
        "name": name,
        f"{unit}_per_second": round(statistics.median(rates[name]), 1),
        "lowest": round(min(rates[name]), 1),
        "highest": round(max(rates[name]), 1),
        f"vs_{reference.replace(' ', '_')}": round(statistics.median(ratios), 3),
    }
