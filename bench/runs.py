"""Runs to time: recipes of the long tail on pictures made for the occasion, by fastlt's trainer and by the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from fastlt.bench.plain_training import Form, PlainTraining
from rich.console import Console

from fastlt import config, distributed, heap, methods
from fastlt.batch import Batch
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trainer import Trainer

FRESH = 1_000_000  # steps a run is planned for, so that the learning rate hardly moves


@dataclass(frozen=True)
class Subject:
    """A recipe with what is changed in it, and images of a step for each stream on a CPU and on a GPU."""

    name: str
    recipe: str
    changes: tuple[str, ...]
    cpu_batch: int
    gpu_batch: int

    @property
    def batch(self) -> int:
        return self.gpu_batch if device().type == "cuda" else self.cpu_batch

    def settings(self, data: Path, precision: str) -> list[str]:
        plan = [f"train.steps={FRESH}", f"train.batch={self.batch}", f"train.precision={precision}"]
        return [f"data.path={data}", *plan, *self.changes]


# Pictures are cropped, flipped and normalised, which is what the baseline knows of augmentation.
HYBRID = Subject("ResNet-32 Hybrid-PSC 32", "cifar10_lt/hybrid_psc", ("pipeline.grayscale=0",), 64, 128)
COLLABORATIVE = Subject(
    "ResNet-50 collaborative 224",
    "voc_lt/collaborative",
    ("model.init=null", "pipeline.name=random_resized_crop"),
    4,
    32,
)
# All but the last stage frozen, and what it makes of the pictures kept.
FROZEN = Subject(
    "EfficientNet-Lite0 collaborative 128, last stage",
    "corel5k/collaborative_lite0",
    (
        "model.init=null",
        "model.frozen_stages=6",
        "model.cache_frozen=true",
        "pipeline.size=128",
        "optimizer.name=sgd",
        "train.ema=null",
    ),
    32,
    256,
)


@contextmanager
def trainer(subject: Subject, data: Path, precision: str = "auto") -> Iterator[Trainer]:
    """fastlt's trainer of the subject over the data set in `data`, ready for its first step."""
    run, _ = config.load(subject.recipe, subject.settings(data, precision))
    ranks = distributed.Ranks(0, 1, device())
    with ExitStack() as stack:
        folder = RunFolder(Path(stack.enter_context(TemporaryDirectory())))
        quiet = Display(Console(quiet=True), quiet=True)
        found = stack.enter_context(Trainer.open(run, folder, ranks, quiet))
        if run.model.cache_frozen:
            found.cache_frozen()
        found.method.train()
        yield found


def plain(of: Trainer, form: Form | None = None) -> PlainTraining:
    """The baseline of the same recipe, from the same initial weights."""
    method = methods.build(of.config, of.data, device(), lambda line: None)
    return PlainTraining(of.config, method, of.steps, of.steps_per_epoch, form)


def contiguous(batch: Batch) -> Batch:
    """The batch with its pictures as the baseline's loader gives them: float32, NCHW in memory."""
    images = {name: value.float().contiguous() for name, value in batch.images.items()}
    return Batch(images, batch.labels, batch.position, batch.index)


def images_of(batch: Batch) -> int:
    return sum(len(labels) for labels in batch.labels.values())


def as_a_run_has_it() -> None:
    """What `fastlt train` sets for its process; the baseline, in the same one, has it too."""
    if device().type == "cpu":
        heap.keep_freed_memory()


def device() -> torch.device:
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
