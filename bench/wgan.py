"""Training GANs, one an image: many at once as one network, against one by one.

`at once` trains as many images as the case says; `one by one` is the same network for a single image, and `plain` one
of torch's own layers, so that our one by one is no straw man. What is counted are iterations of single images, each of
five steps of the critic and one of the generator. On a GPU 64 networks of full size are trained at once; a CPU has
neither time nor memory for that: 64 small ones, and a few of full size.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from fastlt.bench import runs
from fastlt.bench.memory import peak_bytes
from fastlt.bench.plain_wgan import PlainWgan
from fastlt.bench.timing import ratio, seconds_in_turn

from fastlt.wgan.allocator import keep_freed_memory
from fastlt.wgan.settings import Settings
from fastlt.wgan.training import Training

ROUNDS = 5
SMALL, FULL = Settings(height=64, width=96, channels=8), Settings()
ON_GPU = ((SMALL, 64), (FULL, 64))
ON_CPU = ((SMALL, 64), (FULL, 4))


def cases(data: Path | None) -> list[dict]:
    """Iterations per second of an image, at once and one by one."""
    return [found for settings, at_once in _subjects() for found in _compared(settings, at_once)]


def summary(found: list[dict]) -> dict:
    """How many times faster an image is at once than one by one, for each size of networks."""
    return {"vs": {case["name"]: {"one by one": case["vs_one_by_one"]} for case in found if case["form"] == "ours"}}


def _subjects() -> tuple[tuple[Settings, int], ...]:
    return ON_GPU if runs.device().type == "cuda" else ON_CPU


def _compared(settings: Settings, at_once: int) -> list[dict]:
    on_gpu = runs.device().type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = True  # this and the next as the command has it
    keep_freed_memory()
    images = {"ours": at_once, "one by one": 1, "plain": 1}
    work = {"ours": _ours(settings, at_once), "one by one": _ours(settings, 1), "plain": _plain(settings)}
    seconds, busy = seconds_in_turn(work, ROUNDS, on_gpu)
    each = {name: [value / images[name] for value in values] for name, values in seconds.items()}
    used = {name: [value / images[name] for value in values] for name, values in busy.items()}
    return [
        {
            "name": f"{settings.height}x{settings.width}, {settings.channels} channels",
            "form": name,
            "at_once": images[name],
            "iterations_per_second": float(f"{1 / statistics.median(each[name]):.5g}"),
            "vs_one_by_one": ratio(each["one by one"], each[name]),
            "processor_time_vs_one_by_one": ratio(used["one by one"], used[name]),
            "peak_bytes": None if on_gpu else peak_bytes(work[name], times=1),
            "held_bytes": 16 * settings.weights * images[name],
            "samples": {name: [float(f"{1 / value:.5g}") for value in each[name]]},
        }
        for name in work
    ]


def _ours(settings: Settings, images: int) -> Callable[[], object]:
    training, number = Training(_pictures(settings, images), list(range(images)), settings), count()
    return lambda: training.iterate(next(number))


def _plain(settings: Settings) -> Callable[[], object]:
    return PlainWgan(_pictures(settings, 1), settings).iterate


def _pictures(settings: Settings, images: int) -> torch.Tensor:
    return 2 * torch.rand(images, 3, settings.height, settings.width, device=runs.device()) - 1
