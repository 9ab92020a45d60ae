"""Whole training, loader and step together, and each of them alone: which side is full.

`compute_only` repeats the step on one batch, `loader_only` throws the batches away; where the loader alone is the
faster, the network is what training waits for. `plain` is the baseline: a DataLoader with as many workers in all, and
the plain step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fastlt.bench import runs
from fastlt.bench.baseline import Pictures, PlainPictures, plain_batches
from fastlt.bench.machine import usable_cores
from fastlt.bench.photos import photo_set
from fastlt.bench.raw import raw_set
from fastlt.bench.runs import Subject
from fastlt.bench.timing import case, flows_in_turn

from fastlt.batch import Batch
from fastlt.train.trainer import Trainer

ROUNDS, REST = 3, 0.5
FROZEN_PHOTOS = 512  # enough for batches; that what is frozen looks at each of them once does not count
LOADED = 8  # batches that the loader alone gives at a time: more than it has ready
STEPS_ON_GPU = 20


def cases(data: Path | None) -> list[dict]:
    """Small raw pictures through a small network, photographs through a large one, made ones through a last stage."""
    runs.as_a_run_has_it()
    with raw_set() as (records, arrays):
        found = _measured(runs.HYBRID, records, arrays, steps=4)
    with photo_set(data) as (records, files):
        found += _measured(runs.COLLABORATIVE, records, files, steps=1)
    with photo_set(None, count=FROZEN_PHOTOS) as (records, files):
        return found + _measured(runs.FROZEN, records, files, steps=4)


def summary(found: list[dict]) -> dict:
    """For each subject the total rate, the rates of its two sides, which is full, and the ratio to the baseline."""
    names = dict.fromkeys(case["name"] for case in found)
    rates = {name: {c["form"]: c["images_per_second"] for c in found if c["name"] == name} for name in names}
    ratios = {c["name"]: c["vs_plain"] for c in found if c["form"] == "fastlt"}
    full = {name: _full(one) for name, one in rates.items()}
    return {"images_per_second": rates, "full": full, "vs": {name: {"plain": ratios[name]} for name in names}}


def _full(rates: dict[str, float]) -> str:
    return "network" if rates["loader_only"] > rates["compute_only"] else "loader"


def _measured(subject: Subject, records, files, steps: int) -> list[dict]:
    every = np.arange(len(records))
    pictures = Pictures(files, records.shapes(every), records.labels(every))
    data = records.folder.parent
    with contextlib.ExitStack() as stack:
        ours, alone, compute = (stack.enter_context(runs.trainer(subject, data)) for _ in range(3))
        flows = {
            "plain": stack.enter_context(_plain(compute, pictures)),
            "fastlt": _whole(ours),
            "compute_only": _compute_only(compute),
            "loader_only": _loader_only(alone),
        }
        pieces = STEPS_ON_GPU if runs.device().type == "cuda" else steps
        rates, _ = flows_in_turn(flows, pieces, 1, ROUNDS, REST)
    found = []
    for name in ("fastlt", "compute_only", "loader_only", "plain"):
        one = case(name, rates, "images", *(["plain"] if name == "fastlt" else []))
        found.append(one | {"name": subject.name, "form": name})
    full = _full({one["form"]: one["images_per_second"] for one in found})
    found[0] |= {"full": full, "limit": min(found[1]["images_per_second"], found[2]["images_per_second"])}
    return found


def _whole(trainer: Trainer) -> Iterator[int]:
    while True:
        batch = next(trainer.loader)
        trainer.train_step(batch)
        _wait()
        yield runs.images_of(batch)


def _compute_only(trainer: Trainer) -> Iterator[int]:
    batch = next(trainer.loader)
    trainer.loader.close()
    while True:
        trainer.train_step(batch)
        _wait()
        yield runs.images_of(batch)


def _loader_only(trainer: Trainer) -> Iterator[int]:
    while True:
        yield sum(runs.images_of(next(trainer.loader)) for _ in range(LOADED))


@contextlib.contextmanager
def _plain(of: Trainer, pictures: Pictures) -> Iterator[Iterator[int]]:
    """A DataLoader for each stream, the workers shared among them."""
    workers = max(1, usable_cores() // len(of.loader.parts))
    with contextlib.ExitStack() as stack:
        flows = {}
        for part in of.loader.parts:
            dataset = PlainPictures(pictures, part.stream, of.config.pipeline, part.view_keys[0], "torchvision")
            flows[part.name] = stack.enter_context(plain_batches(dataset, part.batch, workers))
        yield _plain_steps(of, flows)


def _plain_steps(of: Trainer, flows: dict[str, Iterator]) -> Iterator[int]:
    step, device = runs.plain(of), runs.device()
    while True:
        given = {name: next(flow) for name, flow in flows.items()}
        images = {name: pixels.to(device, non_blocking=True) for name, (pixels, _) in given.items()}
        labels = {name: known.to(device, non_blocking=True) for name, (_, known) in given.items()}
        batch = Batch(images, labels, {}, {})
        step(batch)
        _wait()
        yield runs.images_of(batch)


def _wait() -> None:
    """Until the device has done what it was told."""
    if runs.device().type == "cuda":
        torch.cuda.synchronize()
