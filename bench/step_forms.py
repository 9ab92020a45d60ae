"""The training step in every form compared: as it is commonly written, with fastlt's ways one by one, and fastlt's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from fastlt.bench import runs
from fastlt.bench.plain_training import Form
from fastlt.bench.runs import Subject

from fastlt.batch import Batch
from fastlt.train.trainer import Trainer

ON_CPU = "and forms for the CPU"  # which elsewhere are the usual ones
FORMS = {
    "plain": Form(),
    "and channels-last": Form(channels_last=True),
    "and one pass": Form(channels_last=True, one_pass=True),
    "and fused losses": Form(channels_last=True, one_pass=True, fused_losses=True),
    ON_CPU: Form(channels_last=True, one_pass=True, fused_losses=True, cpu_forms=True),
    "and fused optimiser": Form(
        channels_last=True, one_pass=True, fused_losses=True, cpu_forms=True, fused_optimizer=True
    ),
}
WHOLE = ("plain", "ours fp32", "ours")  # whose memory and time are looked into


@dataclass(frozen=True)
class Forms:
    """The step of a subject in each form, and what fastlt's own has."""

    work: dict[str, Callable[[], object]]
    images: int  # of all streams
    dtype: torch.dtype  # that fastlt chooses


def forms(subject: Subject, data: Path, stack: ExitStack) -> Forms:
    """`stack` holds what they need."""
    single = stack.enter_context(runs.trainer(subject, data, "fp32"))
    ours = stack.enter_context(runs.trainer(subject, data))
    batches = {"ours fp32": next(single.loader), "ours": next(ours.loader)}
    single.loader.close(), ours.loader.close()  # their threads would go on preparing
    tried = {name: form for name, form in FORMS.items() if name != ON_CPU or runs.device().type == "cpu"}
    work = {name: _plain_step(single, form, batches["ours fp32"]) for name, form in tried.items()}
    work |= {name: _step(t, batches[name]) for name, t in (("ours fp32", single), ("ours", ours))}
    return Forms(work, runs.images_of(batches["ours"]), ours.precision.dtype)


def _plain_step(of: Trainer, form: Form, batch: Batch) -> Callable[[], object]:
    step = runs.plain(of, form)
    given = batch if form.channels_last else runs.contiguous(batch)
    return lambda: step(given)


def _step(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    return lambda: trainer.train_step(batch)
