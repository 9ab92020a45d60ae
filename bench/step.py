"""The training step without its loader: fastlt's against the baseline's, and what each difference brings.

The forms between `plain` and `ours` turn fastlt's ways on one after the other in the plain step: channels-last memory,
one pass of both branches, fused losses, norms with their ReLUs in one operator and large 1 x 1 convolutions as products
(fastlt/models/cpu_forms.py), a fused optimiser. `ours fp32` is fastlt's trainer in fp32, `ours` as it chooses the
precision. `limit` is a step that did nothing but the products and sums of the network, at the speed of a large product
in the same precision; `where` is what the time of a step goes to. Of ours, "batch norm" holds the ReLU and the residual
too, and "matrix products" the large 1 x 1 convolutions.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from fastlt.bench import runs, step_forms, step_memory
from fastlt.bench.limits import matmul_peak
from fastlt.bench.raw import raw_set
from fastlt.bench.step_forms import WHOLE, Forms
from fastlt.bench.timing import ratio, seconds_in_turn
from torch.utils.flop_counter import FlopCounterMode

from fastlt.data.quiet_stderr import quiet_stderr

ROUNDS = 5
SUBJECTS = ((runs.HYBRID, 32, 10, 1024), (runs.COLLABORATIVE, 224, 20, 256))  # side, classes and number of pictures
KINDS = {  # of operators, by what their names hold; the first that fits counts
    "convolution": ("conv",),
    "batch norm": ("batch_norm", "BatchNorm"),
    "losses": ("fastlt::",),
    "optimiser": ("_fused_", "_foreach_"),
    "matrix products": ("mm",),
    "copies and casts": ("copy", "cat", "contiguous", "clone", "pad"),
}


def cases(data: Path | None) -> list[dict]:
    """Images per second of each form of each subject, over all streams of the step."""
    runs.as_a_run_has_it()
    found = []
    for subject, side, classes, count in SUBJECTS:
        with raw_set(side, count, classes) as (records, _), ExitStack() as stack:
            folder = data or records.folder.parent
            compared = step_forms.forms(subject, folder, stack)
            peaks = _peaks(compared) if _on_gpu() else step_memory.peaks(subject, folder)
            found += _compared(subject.name, compared, peaks)
    return found


def summary(found: list[dict]) -> dict:
    """Our rate over the plain one's, and our memory over its, for each subject."""
    ours = {case["name"]: case for case in found if case["form"] == "ours"}
    other = {case["name"]: case for case in found if case["form"] == "plain"}
    memory = {name: _share(case["peak_bytes"], other[name]["peak_bytes"]) for name, case in ours.items()}
    return {"vs": {name: {"plain": case["vs_plain"]} for name, case in ours.items()}, "memory": memory}


def _compared(name: str, compared: Forms, peaks: dict[str, int | None]) -> list[dict]:
    work, images = compared.work, compared.images
    seconds, busy = seconds_in_turn(work, ROUNDS, _on_gpu())
    flops = _operations(work["plain"])
    dtypes = dict.fromkeys(work, torch.float32) | {"ours": compared.dtype}
    products = {dtype: matmul_peak(dtype, runs.device()) for dtype in {*dtypes.values()}}
    return [
        {
            "name": name,
            "form": form,
            "precision": str(dtypes[form]).removeprefix("torch."),
            "images_per_second": round(images / statistics.median(seconds[form]), 2),
            "vs_plain": ratio(seconds["plain"], seconds[form]),
            "processor_time_vs_plain": ratio(busy["plain"], busy[form]),
            "peak_bytes": peaks.get(form),
            "limit": round(images * products[dtypes[form]] / flops, 1),
            "where": _where(work[form]) if form in WHOLE else None,
            "samples": {form: [round(images / value, 2) for value in seconds[form]]},
        }
        for form in work
    ]


def _operations(step: Callable[[], object]) -> int:
    """Multiplications and additions of matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def _peaks(compared: Forms) -> dict[str, int]:
    """Bytes that a step takes on the GPU beyond what is held between steps."""
    found = {}
    for form in WHOLE:
        compared.work[form]()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        compared.work[form]()
        found[form] = torch.cuda.max_memory_allocated() - before
    return found


def _on_gpu() -> bool:
    return runs.device().type == "cuda"


def _where(step: Callable[[], object]) -> str:
    """Shares of the time of one step, on the device that computes."""
    on_gpu = _on_gpu()
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
