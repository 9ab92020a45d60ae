"""The training step without its loader: fastlt's against the baseline's, and what each difference brings.

The forms between `plain` and `ours` turn fastlt's ways on one after the other in the plain step: channels-last memory,
one pass of both branches, fused losses, a fused optimiser. `ours fp32` is fastlt's trainer in fp32, `ours` as it
chooses the precision. `limit` is a step that did nothing but the network's products and sums, at the speed of a large
matrix product in the same precision; `where` is what the time of a step goes to.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from fastlt.bench import runs
from fastlt.bench.limits import matmul_peak
from fastlt.bench.memory import peak_bytes
from fastlt.bench.plain_training import Form
from fastlt.bench.raw import raw_set
from fastlt.bench.runs import Subject
from fastlt.bench.timing import ratio, seconds_in_turn
from torch.utils.flop_counter import FlopCounterMode

from fastlt.batch import Batch
from fastlt.data.quiet_stderr import quiet_stderr
from fastlt.train.trainer import Trainer

ROUNDS = 5
SUBJECTS = ((runs.HYBRID, 32, 10, 1024), (runs.COLLABORATIVE, 224, 20, 256))  # side, classes and number of pictures
FORMS = {
    "plain": Form(),
    "and channels-last": Form(channels_last=True),
    "and one pass": Form(channels_last=True, one_pass=True),
    "and fused losses": Form(channels_last=True, one_pass=True, fused_losses=True),
    "and fused optimiser": Form(channels_last=True, one_pass=True, fused_losses=True, fused_optimizer=True),
}
WHOLE = ("plain", "ours fp32", "ours")  # whose memory and time are looked into
KINDS = {  # of operators, by what their names hold; the first that fits counts
    "convolution": ("conv",),
    "batch norm": ("batch_norm",),
    "losses": ("fastlt::",),
    "optimiser": ("_fused_", "_foreach_"),
    "matrix products": ("mm",),
    "copies and casts": ("copy", "cat", "contiguous", "clone", "pad"),
}


def cases(data: Path | None) -> list[dict]:
    """Images per second of each form of each subject, over all streams of the step."""
    found = []
    for subject, side, classes, count in SUBJECTS:
        with raw_set(side, count, classes) as (records, _):
            found += _compared(subject, data or records.folder.parent)
    return found


def summary(found: list[dict]) -> dict:
    """Our rate over the plain one's, and our memory over its, for each subject."""
    ours = {case["name"]: case for case in found if case["form"] == "ours"}
    other = {case["name"]: case for case in found if case["form"] == "plain"}
    memory = {name: _share(case["peak_bytes"], other[name]["peak_bytes"]) for name, case in ours.items()}
    return {"vs": {name: {"plain": case["vs_plain"]} for name, case in ours.items()}, "memory": memory}


def _compared(subject: Subject, data: Path) -> list[dict]:
    with ExitStack() as stack:
        single = stack.enter_context(runs.trainer(subject, data, "fp32"))
        ours = stack.enter_context(runs.trainer(subject, data))
        batches = {"ours fp32": next(single.loader), "ours": next(ours.loader)}
        single.loader.close(), ours.loader.close()  # their threads would go on preparing
        work = {name: _plain_step(single, form, batches["ours fp32"]) for name, form in FORMS.items()}
        work |= {name: _step(t, batches[name]) for name, t in (("ours fp32", single), ("ours", ours))}
        seconds, busy = seconds_in_turn(work, ROUNDS, runs.device().type == "cuda")
        flops = _operations(work["plain"])
        dtypes = {name: torch.float32 for name in work} | {"ours": ours.precision.dtype}
        peaks = {dtype: matmul_peak(dtype, runs.device()) for dtype in {*dtypes.values()}}
        images = runs.images_of(batches["ours"])
        return [
            {
                "name": subject.name,
                "form": name,
                "precision": str(dtypes[name]).removeprefix("torch."),
                "images_per_second": round(images / statistics.median(seconds[name]), 2),
                "vs_plain": ratio(seconds["plain"], seconds[name]),
                "processor_time_vs_plain": ratio(busy["plain"], busy[name]),
                "peak_bytes": _peak(work[name]) if name in WHOLE else None,
                "limit": round(images * peaks[dtypes[name]] / flops, 1),
                "where": _where(work[name]) if name in WHOLE else None,
                "samples": {name: [round(images / value, 2) for value in seconds[name]]},
            }
            for name in work
        ]


def _plain_step(of: Trainer, form: Form, batch: Batch) -> Callable[[], object]:
    step = runs.plain(of, form)
    given = batch if form.channels_last else runs.contiguous(batch)
    return lambda: step(given)


def _step(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    return lambda: trainer.train_step(batch)


def _operations(step: Callable[[], object]) -> int:
    """Multiplications and additions of matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def _peak(step: Callable[[], object]) -> int | None:
    """Bytes that a step takes beyond what is held before it."""
    if runs.device().type != "cuda":
        return peak_bytes(step, times=1)
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def _where(step: Callable[[], object]) -> str:
    """Shares of the time of one step, on the device that computes."""
    on_gpu = runs.device().type == "cuda"
    kinds = torch.profiler.ProfilerActivity
    activities = [kinds.CPU, *([kinds.CUDA] if on_gpu else [])]
    with (
        quiet_stderr(),
        torch.profiler.profile(activities=activities) as profile,
    ):  # it prints of GPUs that are not there
        step()
    shares = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in profile.key_averages():
        shares[_kind(event.key)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(shares.values()) or 1.0
    named = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value / total:.0%}" for name, value in named if value >= 0.005 * total)


def _kind(operator: str) -> str:
    return next((name for name, parts in KINDS.items() if any(part in operator for part in parts)), "other")


def _share(own: int | None, other: int | None) -> float | None:
    return round(own / other, 3) if own and other else None
