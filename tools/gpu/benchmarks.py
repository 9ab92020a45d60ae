"""The contestants of `fastlt bench losses` on the GPU: forward and backward, timed by the device's own events.

Twice: as a program calls them (`us`, where launching from Python is most of the time), and replayed from a CUDA graph
(`device_us`: what the GPU itself needs).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from .capture import captured
from .part import Part, main

ROUNDS, QUICK_ROUNDS = 30, 3
EVICTED_BYTES = 256 << 20  # more than any GPU's cache
QUICK_SIZE = 256 * 80


def run(part: Part) -> None:
    part.require_kernels()
    from fastlt.bench import losses

    torch.manual_seed(0)
    with torch.device(part.device):  # where the subjects make their tensors
        subjects = losses.subjects()
    if part.quick:
        subjects = [subject for subject in subjects if subject.leaves[0].numel() <= QUICK_SIZE]
    cases = part.details["cases"] = []
    for subject in subjects:
        name = f"{subject.op} {subject.setting} {subject.shape}"
        part.attempt(name, lambda subject=subject: cases.append(_measured(part, subject)))


def _measured(part: Part, subject) -> dict:
    contestants = {"ours": subject.ours, "eager": subject.eager}
    if not part.quick:
        contestants["compile"] = torch.compile(subject.eager)
    work = {name: _step(subject, loss) for name, loss in contestants.items()}
    target, first = torch.empty_like(subject.leaves[0]), subject.leaves[0].detach()
    work["copy"] = lambda: target.copy_(first)
    found = {"op": subject.op, "setting": subject.setting, "shape": subject.shape, "dtype": str(first.dtype)[6:]}
    found |= _compared("", _microseconds(part, work))
    if part.on_gpu:
        found |= {f"peak_bytes_{name}": _peak(part, work[name]) for name in ("ours", "eager")}
        found |= _compared("device_", _microseconds(part, _graphs(work)))
    torch.compiler.reset()
    return found


def _compared(prefix: str, times: dict[str, list[float]]) -> dict[str, float]:
    """Our median and what the others' come to beside it."""
    middle = {name: statistics.median(found) for name, found in times.items()}
    found = {f"{prefix}us": round(middle["ours"], 1), f"{prefix}fastest_us": round(min(times["ours"]), 1)}
    return found | {f"{prefix}vs_{name}": round(middle[name] / middle["ours"], 2) for name in times if name != "ours"}


def _graphs(work: dict[str, Callable]) -> dict[str, Callable]:
    """Of every contestant that a graph can hold; ours must be one."""
    graphs = {"ours": captured(work["ours"])[1]}
    for name in (name for name in work if name != "ours"):
        try:
            graphs[name] = captured(work[name])[1]
        except RuntimeError as error:  # it reads from the device what the host is to do next
            print(f"{name} cannot be captured: {error}")
            torch.cuda.synchronize()
    return graphs


def _step(subject, loss: Callable) -> Callable[[], None]:
    def step() -> None:
        for leaf in subject.leaves:
            leaf.grad = None
        loss().backward()

    return step


def _microseconds(part: Part, work: dict[str, Callable]) -> dict[str, list[float]]:
    """In turn, the caches emptied before each, which also gives the host time to launch a graph.

    Launching from Python is part of the time where the GPU has to wait for it.
    """
    evicted = torch.empty((EVICTED_BYTES if part.on_gpu else 1 << 20) // 4, device=part.device)
    for call in work.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(QUICK_ROUNDS if part.quick else ROUNDS):
        for name, call in work.items():
            evicted.zero_()
            times[name].append(_timed(part, call))
    return times


def _timed(part: Part, call: Callable) -> float:
    if not part.on_gpu:
        begin = time.perf_counter()
        call()
        return 1e6 * (time.perf_counter() - begin)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return 1e3 * begin.elapsed_time(end)


def _peak(part: Part, call: Callable) -> int:
    """Bytes beyond what is there before the step."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    main(run)
