"""DiVE: He, Wu, Wei, "Distilling Virtual Examples for Long-tailed Recognition", ICCV 2021."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fastlt import config as run_config
from fastlt import ops
from fastlt.batch import Batch, StreamSpec
from fastlt.config import Fraction, MethodConfig, RunConfig, StreamConfig, TrainingStream
from fastlt.distributed import global_mean
from fastlt.errors import UserError
from fastlt.losses.balanced_softmax import log_prior
from fastlt.methods.base import FinishedRun, LossOfLogits, Method, OpenRun
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet

Temperature = Annotated[float, Field(gt=0)]


class Options(MethodConfig):
    name: str = "dive"
    teacher: Path | None = None  # folder of a run of balanced softmax on the same data
    temperature: Temperature = 3.0  # see `fastlt virtual-examples`
    power: Annotated[float, Field(gt=0)] = 0.5  # of the teacher's probabilities, before they are normalised again
    alpha: Fraction = 0.5  # share of the distillation; 0: balanced softmax alone
    student_temperature: Temperature | None = None  # default: the same
    stream: TrainingStream = StreamConfig()


class DiVE(Method):
    """(1 - alpha) balanced softmax + alpha T^2 KL(t || s), t = softmax(power y / temperature), s = softmax(x / T).

    x and y are the raw logits of student and teacher; T is the student's temperature, which the factor takes where the
    two differ (inferred). The teacher sees the same augmented pictures in eval mode. It is no part of the module: its
    state holds the digest of the teacher's checkpoint alone, so that a run does not go on with another teacher.
    """

    other_network_sees_pictures = True

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        if data.multi_label:
            raise UserError("method dive needs one label an image, but this data set has several; use collaborative")
        self.model, self.options, self.data = model, options, data
        self.temperature = options.student_temperature or options.temperature
        self.power = options.power * self.temperature / options.temperature  # of the teacher at the student's
        self.register_buffer("log_prior", log_prior(data), persistent=False)
        self.register_buffer("teacher_digest", torch.zeros(32, dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_check_teacher)
        self.streams = {"main": StreamSpec(options.stream)}
        self.epoch_of = "main"
        self._teacher: tuple[Method, ...] = ()  # a tuple, whose modules are not the student's

    @classmethod
    def loss_of_logits(cls, options: Options, data: TrainingSet) -> LossOfLogits:
        raise UserError(
            "how method dive pulls at a logit depends on what its teacher says of the very image, not on the label "
            "alone; its other part, balanced softmax, is drawn by a bsce recipe"
        )

    def attach(self, open_run: OpenRun) -> None:
        """Opens the teacher. Raises UserError if there is none, or it was trained on other data or another network."""
        if self.options.teacher is None:
            raise UserError(
                "method.teacher is missing; train one with `fastlt train digits/bsce --out DIR` (or the bsce recipe of "
                "your data set), then --set method.teacher=DIR"
            )
        run = open_run(self.options.teacher)
        _check_data(run, self.data, self.options.teacher)
        _check_settings(run.config, open_run.config, self.options.teacher)
        digest = hashlib.sha256(run.checkpoint.read_bytes()).digest()
        self.teacher_digest.copy_(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._teacher = (run.method.eval().requires_grad_(False),)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        images, labels = batch.images["main"], batch.labels["main"]
        logits = self.model(images)
        with torch.no_grad():
            taught = self._teacher[0].predict(images)
        prior = self.log_prior.to(wide(logits.dtype))
        settings = {"temperature": self.temperature, "power": self.power, "alpha": self.options.alpha}
        total = ops.dive(logits, taught, labels, prior, **settings, reduction="sum")
        return {"loss": global_mean(total, torch.full((), len(labels), device=logits.device))}

    def predict(self, images: Tensor) -> Tensor:
        return self.model(images).float()


def _check_teacher(student: DiVE, state: dict[str, Tensor], prefix: str, *_) -> None:
    """Raises UserError if a checkpoint was trained with another teacher than the one that is attached, if any is."""
    before = state[f"{prefix}teacher_digest"]
    if student._teacher and not torch.equal(before.cpu(), student.teacher_digest.cpu()):
        raise UserError(
            f"method.teacher={student.options.teacher} is not the teacher that this run began with (its checkpoint "
            "is another); give that one, or begin another run"
        )


def _check_data(teacher: FinishedRun, own: TrainingSet, folder: Path) -> None:
    if teacher.data.classes != own.classes:
        what = f"{len(teacher.data.classes)} classes that are not the {len(own.classes)} of this run"
    elif teacher.data.fingerprint != own.fingerprint:
        what = "other training images than this run: another subset, seed or build of the data set"
    else:
        return
    raise UserError(f"method.teacher={folder} was trained on {what}; train a teacher on this run's data")


def _check_settings(teacher: RunConfig, own: RunConfig, folder: Path) -> None:
    """The student's network, and the very pictures that the teacher learned from."""
    before, after = _compared(teacher), _compared(own)
    different = run_config.changes(before, after)
    if different:
        raise UserError(
            f"method.teacher={folder} was trained with other settings than this run ({different[0]}); train student "
            "and teacher with the same"
        )


def _compared(config: RunConfig) -> dict:
    network = config.model.model_dump(include={"backbone", "pooling", "classifier"})
    return {"model": network, "pipeline": config.pipeline.model_dump(mode="json")}
