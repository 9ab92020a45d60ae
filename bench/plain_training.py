"""The training step as it is commonly written: fp32, NCHW, eager losses, one pass a stream, torch's own optimiser.

The network and its initial weights are those of fastlt's method, whose loss is written out here in eager PyTorch.
`Form` turns what fastlt does otherwise on, one by one, to see what each of them brings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fastlt.bench import eager_losses as eager
from torch import Tensor

from fastlt import losses, ops
from fastlt.batch import Batch
from fastlt.config import LossConfig, RunConfig
from fastlt.errors import UserError
from fastlt.losses.base import multi_hot
from fastlt.losses.cross_entropy import CrossEntropy
from fastlt.methods import _parabola
from fastlt.methods.base import Method
from fastlt.models import cpu_forms
from fastlt.progress import Progress
from fastlt.train import optim, schedule


@dataclass(frozen=True)
class Form:
    """Of fastlt's ways of training, those that are used; none of them is the baseline."""

    channels_last: bool = False
    one_pass: bool = False
    fused_losses: bool = False
    cpu_forms: bool = False
    fused_optimizer: bool = False


class PlainTraining:
    """One run of a recipe. `method` is taken over: its weights change with every step.

    Raises UserError for a method or loss that is not written out here.
    """

    def __init__(self, config: RunConfig, method: Method, steps: int, steps_per_epoch: float, form: Form | None = None):
        self.config, self.form = config, form or Form()
        self.steps, self.steps_per_epoch, self.step = steps, steps_per_epoch, 0
        layout = torch.channels_last if self.form.channels_last else torch.contiguous_format
        self.method = method.to(memory_format=layout).train()
        if not self.form.cpu_forms:
            cpu_forms.give_up(self.method)
        self.loss = _LOSSES.get(config.method.name)
        if self.loss is None or not _plain(method, config):
            raise UserError(f"the baseline does not know method {config.method.name} with this loss")
        groups = optim.parameter_groups(method.param_groups(), config.optimizer)
        self.optimizer = self._optimizer(groups)

    def __call__(self, batch: Batch) -> Tensor:
        """One update; gives the loss, detached. The pictures may lie in memory as the form has them or not."""
        loss = self.loss(self.method, batch, self._progress(), self.form)
        loss.backward()
        settings = self.config.optimizer
        schedule.apply(
            self.optimizer,
            schedule.factor(self.config.schedule, self.step, self.steps, self.steps_per_epoch),
            settings.lr,
        )
        if self.config.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.config.train.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()  # here, as in fastlt's step, so that both hold the same between steps
        self.step += 1
        return loss.detach()

    def _optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        settings = self.config.optimizer
        if settings.name != "sgd":
            raise UserError(f"the baseline does not know optimizer {settings.name}")
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True if self.form.fused_optimizer else None,
        )

    def _progress(self) -> Progress:
        epoch, epochs = self.step / self.steps_per_epoch, self.steps / self.steps_per_epoch
        return Progress(self.step, self.steps, epoch, epochs)


def _erm(method: Method, batch: Batch, now: Progress, form: Form) -> Tensor:
    return F.cross_entropy(method.model(batch.images["main"]), batch.labels["main"])


def _hybrid_psc(method: Method, batch: Batch, now: Progress, form: Form) -> Tensor:
    images, labels = batch.images, batch.labels
    if form.one_pass:
        both = torch.cat([images["contrastive"], images["classifier"]])
        contrastive, classifier = method.model.forward_features(both).chunk(2)
    else:
        contrastive = method.model.forward_features(images["contrastive"])
        classifier = method.model.forward_features(images["classifier"])
    projected = method.projection(method.model.forward_head(contrastive, pre_logits=True))
    logits = method.model.forward_head(classifier)
    loss = ops.prototype_contrastive if form.fused_losses else eager.prototype_contrastive
    contrast = loss(projected, method.prototypes, labels["contrastive"], temperature=method.temperature)
    share = _parabola.falling(now, method.whole_epochs)
    return share * contrast + (1 - share) * F.cross_entropy(logits, labels["classifier"])


def _collaborative(method: Method, batch: Batch, now: Progress, form: Form) -> Tensor:
    names = list(method.streams)
    if form.one_pass:
        both = method.network(torch.cat([batch.images[name] for name in names]))
        parts = {branch: dict(zip(names, logits.chunk(2), strict=True)) for branch, logits in both.items()}
    else:
        seen = {stream: method.network(batch.images[stream]) for stream in names}
        parts = {branch: {stream: seen[stream][branch] for stream in names} for branch in names}
    total = sum(_compensated(method, name, parts[name][name], batch.labels[name], form) for name in names)
    first, second = (parts[name] for name in names)
    apart = sum(F.mse_loss(first[stream], second[stream]) for stream in names)
    return total + method.options.consistency * apart


def _compensated(method: Method, branch: str, logits: Tensor, labels: Tensor, form: Form) -> Tensor:
    labels = multi_hot(labels, logits.shape[1])
    settings = method.compensation[branch]()
    weights = [method.positive_weight, method.negative_weight]
    if form.fused_losses:
        return ops.sigmoid_loss(
            logits, labels, **settings, positive_weight=weights[0], negative_weight=weights[1], reduction="mean"
        )
    order = ("positive_scale", "positive_shift", "negative_scale", "negative_shift")
    return eager.compensated(logits, labels.to(logits.dtype), [settings[name] for name in order], weights)


_LOSSES = {"erm": _erm, "hybrid_psc": _hybrid_psc, "collaborative": _collaborative}


def _plain(method: Method, config: RunConfig) -> bool:
    """Whether its loss, if it has one to choose, is cross-entropy without class weights."""
    if not hasattr(method, "loss"):
        return True
    known = LossConfig(name=losses.AUTO), losses.options("cross_entropy")()
    return isinstance(method.loss, CrossEntropy) and config.method.loss in known
