"""Rates measured in turn, so that a machine whose speed drifts treats all contestants alike."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator

from fastlt.bench.cpu_time import cpu_seconds

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


def flows_in_turn(
    contestants: dict[str, Iterator[int]],
    pieces: int,
    lead: int,
    rounds: int,
    rest: float,
    prepare: Callable[[], object] = lambda: None,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The same for endless iterators that work ahead in the background, each of which gives units.

    The second result is what each needs of the processors: units per second of their time, all threads and child
    processes together (none but on Linux). On a machine that others use too, it is the steadier of the two.

    Before its turn a contestant rests `rest` seconds, in which the one before it fills its queue and falls asleep;
    then it gives `lead` pieces that are not timed, which were made ahead, and after `prepare` the `pieces` that are.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    done, used = dict.fromkeys(contestants, 0), dict.fromkeys(contestants, 0.0)
    for number in range(rounds + 1):
        for name, flow in contestants.items():
            time.sleep(rest)
            _take(flow, lead)
            prepare()
            busy, begin = cpu_seconds(), time.perf_counter()
            units = _take(flow, pieces)
            if number:  # the first round is to warm up
                rates[name].append(units / (time.perf_counter() - begin))
                done[name] += units
                used[name] += cpu_seconds() - busy if busy is not None else 0.0
    return rates, {name: done[name] / seconds for name, seconds in used.items() if seconds}


def seconds_in_turn(
    contestants: dict[str, Callable[[], object]], rounds: int = ROUNDS, on_gpu: bool = False
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each call, by the device's own events on a GPU, and seconds of processor time of this process.

    Every contestant is called once to warm up.
    """
    for work in contestants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            begin = time.process_time()
            seconds[name].append(_by_events(work) if on_gpu else _by_clock(work))
            busy[name].append(max(time.process_time() - begin, 1e-9))
    return seconds, busy


def _by_clock(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _by_events(work: Callable[[], object]) -> float:
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def _take(flow: Iterator[int], count: int) -> int:
    return sum(itertools.islice(flow, count))


def case(name: str, rates: dict[str, list[float]], unit: str, *references: str) -> dict:
    """Median rate with its range, the median over rounds of the ratio to each reference, and every sample."""
    return {
        "name": name,
        f"{unit}_per_second": _figures(statistics.median(rates[name])),
        "lowest": _figures(min(rates[name])),
        "highest": _figures(max(rates[name])),
        **{f"vs_{other.replace(' ', '_')}": ratio(rates[name], rates[other]) for other in references},
        "samples": {name: [_figures(rate) for rate in rates[name]]},
    }


def ratio(own: list[float], other: list[float]) -> float:
    """The median over rounds of own / other."""
    return round(statistics.median(a / b for a, b in zip(own, other, strict=True)), 3)


def _figures(rate: float) -> float:
    """Five digits of it."""
    return float(f"{rate:.5g}")
