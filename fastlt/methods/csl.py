"""Class-aware selective loss: what to do with labels that nobody annotated (Ben-Baruch et al., CVPR 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fastlt import class_prior, distributed, ops
from fastlt.batch import Batch, StreamSpec
from fastlt.config import Fraction, MethodConfig, StreamConfig, TrainingStream
from fastlt.losses.base import multi_hot
from fastlt.methods.base import LossOfLogits, Method, OpenRun
from fastlt.progress import Progress, TrainingSet

NonNegative = Annotated[float, Field(ge=0)]


class Options(MethodConfig):
    """`mode` says what an unknown label (-1) is.

    negative: a negative. ignore: nothing. ignore_normalize_classes: nothing, and the other labels of an image with k
    known ones weigh 1 + 1 / (1 + k) (Durand et al., CVPR 2019, as the authors' code has it). selective: nothing where
    its class is common or its likelihood high, else a negative.
    """

    name: str = "csl"
    stream: TrainingStream = StreamConfig()
    mode: Literal["selective", "ignore", "negative", "ignore_normalize_classes"] = "selective"
    prior: Path | None = None  # selective: run folder, or file, of `fastlt prior`; None: likelihood alone
    prior_threshold: Fraction = 0.5  # selective: prior above which a class is common
    top_k: Annotated[int, Field(ge=0)] = 5  # selective: likeliest unknown labels, an image, that count for nothing
    top_k_over: Literal["batch", "image"] = "batch"  # top_k times the images of the whole batch, or top_k of each image
    gamma_positive: NonNegative = 0.0
    gamma_negative: NonNegative = 1.0
    gamma_unknown: NonNegative = 4.0
    alpha_positive: NonNegative = 1.0
    alpha_negative: NonNegative = 1.0
    alpha_unknown: NonNegative = 1.0
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Options:
        if self.prior and self.mode != "selective":
            raise ValueError(f"a prior serves the mode selective alone, not {self.mode}; leave it out")
        return self


class CSL(Method):
    """The partial asymmetric loss, summed over batch, ranks and classes: with p = sigmoid(x), q = max(p - margin, 0)

        positive    alpha_positive (1 - p)^gamma_positive -log p
        negative    alpha_negative q^gamma_negative -log(1 - q)
        unknown     alpha_unknown q^gamma_unknown -log(1 - q), where `mode` lets it count

    whose factors q^gamma get no gradient. `prior` is a buffer, so a checkpoint needs no other run.
    """

    prior: Tensor

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        self.model, self.options, self.classes = model, options, data.classes
        self.streams = {"main": StreamSpec(options.stream)}
        self.epoch_of = "main"
        self.register_buffer("prior", torch.zeros(len(data.classes)))
        alphas = torch.tensor([options.alpha_negative, options.alpha_positive, options.alpha_unknown])
        self.register_buffer("alphas", None if (alphas == 1).all() else alphas, persistent=False)

    @classmethod
    def loss_of_logits(cls, options: Options, data: TrainingSet) -> LossOfLogits:
        """As of labels of which, if they are unknown, no class is common and none is among the likeliest."""
        method = cls(options.model_copy(update={"top_k": 0}), nn.Identity(), data)
        return lambda logits, labels, progress: method.loss(logits, multi_hot(labels, logits.shape[1]))

    def start_from(self, open_run: OpenRun) -> None:
        if self.options.prior:
            found = class_prior.read(self.options.prior).of_classes(self.classes)
            self.prior.copy_(torch.tensor(found))

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits = self.model(batch.images["main"])
        total = self.loss(logits, multi_hot(batch.labels["main"], logits.shape[1]))
        return {"loss": distributed.global_sum(total) * progress.parts}  # the trainer takes the mean over parts

    def predict(self, images: Tensor) -> Tensor:
        return self.model(images).float()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """This rank's sum for logits [B, C] and labels int8 [B, C] in {1, 0, -1}."""
        o = self.options
        return ops.sigmoid_loss(
            logits,
            labels,
            weight=self._weight(logits, labels),
            gamma_positive=o.gamma_positive,
            gamma_negative=o.gamma_negative,
            gamma_unknown=o.gamma_unknown,
            margin=o.margin,
            detach_focus=True,
            unknown="ignore" if o.mode.startswith("ignore") else "negative",
            reduction="sum",
        )

    def _weight(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """[B, C] of each entry: bool or floating; None is 1."""
        type_ = torch.promote_types(logits.dtype, torch.float32)
        weight = None if self.alphas is None else self.alphas.to(type_)[labels.long()]  # -1 is the last
        if self.options.mode == "ignore_normalize_classes":
            by_image = 1 + 1 / (1 + (labels >= 0).sum(1, keepdim=True, dtype=type_))
            weight = by_image.expand(labels.shape).contiguous() if weight is None else by_image * weight
        if self.options.mode == "selective":
            counts = ~self._left_out(logits.detach(), labels < 0)
            weight = counts if weight is None else counts * weight
        return weight

    def _left_out(self, logits: Tensor, unknown: Tensor) -> Tensor:
        """bool [B, C]: unknown labels of common classes, and the likeliest ones whatever their class."""
        likely = likeliest_of_batch if self.options.top_k_over == "batch" else likeliest_of_each
        common = self.prior > self.options.prior_threshold
        return unknown & (common | likely(logits, unknown, self.options.top_k))


def likeliest_of_each(logits: Tensor, among: Tensor, count: int) -> Tensor:
    """bool [B, C]: the `count` largest logits of each image among those that `among` (bool [B, C]) marks."""
    order = _others_last(logits, among).sort(dim=1, descending=True, stable=True).indices
    return torch.zeros_like(among).scatter(1, order[:, :count], True) & among


def likeliest_of_batch(logits: Tensor, among: Tensor, count: int) -> Tensor:
    """bool [B, C]: the `count` x B largest logits of the batch of all ranks, B images, as the authors' code has it.

    Of equal ones the first count, so that it does not matter over how many ranks the batch lies.
    """
    wanted = count * len(logits) * distributed.rank_count()
    values, places = _others_last(logits, among).flatten().sort(descending=True, stable=True)
    values, places = values[:wanted], places[:wanted]
    every = distributed.gather_rows(values)  # the wanted ones are among the first of each rank
    order = every.sort(descending=True, stable=True).indices[:wanted]
    chosen = torch.zeros_like(every, dtype=torch.bool).scatter(0, order, True)
    own = chosen[distributed.own_rank() * len(values) :][: len(values)]
    return torch.zeros_like(among).flatten().scatter(0, places, own).view_as(among) & among


def _others_last(logits: Tensor, among: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(~among, -torch.inf)
