"""augment: data sets of pictures that are made of a data set's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from fastlt.address import Address
from fastlt.commands.data import closing_lines
from fastlt.data.build import build
from fastlt.distributed import device_of
from fastlt.errors import UserError
from fastlt.free_memory import free_memory
from fastlt.train.display import Display
from fastlt.wgan.allocator import keep_freed_memory
from fastlt.wgan.settings import Settings
from fastlt.wgan.source import Source
from fastlt.wgan.training import Training

ON_GPU, ON_CPU = 64, 1  # images at once; a CPU has no more to give than one needs, if it is not small


def make_by_wgan(
    data: Path | Address,
    out: Path,
    settings: Settings,
    console: Console,
    *,
    below: int | None,
    at_once: int | None,
    device: str | None,
    quality: int | None,
    overwrite: bool,
) -> dict:
    """Writes OUT/train: three pictures of each chosen training image of DATA. Returns its figures."""
    if out.resolve() == data.resolve():
        raise UserError(f"{out} is the data set that is read; write into another folder")
    place = device_of(device)
    at_once = at_once or (ON_GPU if place.type == "cuda" else ON_CPU)
    source = Source(data, out, settings, below, at_once, place.type, _maker(settings, place))
    _require_memory(settings, min(at_once, source.images), place)
    display = Display(console)
    source.tick = display.ticker("iterations of all groups")
    report = build(source, out, workers=1, raw=False, quality=quality, on_bad="fail", overwrite=overwrite)
    source.clear()
    for line in closing_lines(report):
        display.say(line)
    (split,) = report.splits.values()
    return {"out": str(out), "images": source.images, "records": split["records"], "counts": split["counts"]}


def _maker(settings: Settings, device: torch.device) -> Callable:
    torch.backends.cuda.matmul.allow_tf32 = True  # as torch has it for convolutions, which these products are
    keep_freed_memory()

    def make(real: np.ndarray, seeds: list[int], tick: Callable[[int], object]) -> np.ndarray:
        return Training(torch.from_numpy(real).to(device), seeds, settings).run(tick).cpu().numpy()

    return make


def _require_memory(settings: Settings, at_once: int, device: torch.device) -> None:
    """Raises UserError if the networks will not fit."""
    free = free_memory(device)
    if free is not None and at_once * settings.memory > free:
        fit = free // settings.memory
        advice = f"give --at-once {fit}" if fit else "make --channels or --size smaller"
        raise UserError(
            f"{at_once} images at once take about {at_once * settings.memory / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
            f"free; {advice}"
        )
