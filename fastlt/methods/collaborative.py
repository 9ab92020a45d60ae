"""Collaborative training of two branches: Guo & Wang, "Long-Tailed Multi-Label Visual Recognition by Collaborative
Training on Uniform and Re-Balanced Samplings", CVPR 2021.

    stream        network                     logits                     terms
    uniform    --+              +-- uniform ----> u   (of uniform)       classification u
                 +-- bottom ----+                 r^  (of rebalanced)    consistency u ~ u^
    rebalanced --+              +-- rebalanced -> r   (of rebalanced)    classification r
                                                  u^  (of uniform)       consistency r ~ r^

Both batches pass through the bottom, and each branch, as one. With one branch alone its stream is the only one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fastlt import ops
from fastlt.batch import Batch, StreamSpec, joined
from fastlt.config import MethodConfig, StreamConfig, TrainingStream
from fastlt.distributed import global_mean
from fastlt.losses.base import multi_hot
from fastlt.methods.base import LossOfLogits, Method
from fastlt.models.averaging import mean_logits, mean_probabilities
from fastlt.models.two_branch import TwoBranch
from fastlt.progress import Progress, TrainingSet

BRANCHES = ("uniform", "rebalanced")
DROPOUT = (
    "with dropout the two branches differ by chance, and logit consistency acts on that; "
    "the paper's network has none: --set model.drop_rate=0"
)


class Options(MethodConfig):
    """Every row of the paper's ablation is a setting of these."""

    name: str = "collaborative"
    branches: Literal["both", "uniform", "rebalanced"] = "both"
    consistency: Annotated[float, Field(ge=0)] = 0.1  # lambda; 0 leaves the term out
    compensation: Literal["each", "shared", "none"] = "each"  # learnable: one set for each branch, or one for both
    class_weights: Literal["frequency", "none"] = "frequency"  # omega
    average: Literal["probabilities", "logits"] = "probabilities"  # of the branches, in prediction
    uniform: TrainingStream = StreamConfig()
    rebalanced: TrainingStream = StreamConfig(sampling="class_balanced")


class Compensation(nn.Module):
    """Learnable scale and shift of each class's logit, [C], for positives and for negatives: at first 1 and 0."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("positive_log_scale", "positive_shift", "negative_log_scale", "negative_shift"):
            self.register_parameter(name, nn.Parameter(torch.zeros(classes)))

    def forward(self) -> dict[str, Tensor]:
        """The arguments of `ops.sigmoid_loss`; scales are exponentials, so that they stay above 0."""
        return {
            "positive_scale": self.positive_log_scale.exp(),
            "positive_shift": self.positive_shift,
            "negative_scale": self.negative_log_scale.exp(),
            "negative_shift": self.negative_shift,
        }


class Collaborative(Method):
    """Classification of each stream by its own branch, and agreement of the branches on every picture."""

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        names = BRANCHES if options.branches == "both" else (options.branches,)
        self.options = options
        self.network = TwoBranch(model, names)
        self.compensation = _compensations(options.compensation, names, len(data.classes))
        self.streams = {name: StreamSpec(getattr(options, name)) for name in names}
        self.epoch_of = names[0]
        for name, values in _class_weights(options, data).items():
            self.register_buffer(name, None if values is None else values.float(), persistent=False)

    @classmethod
    def loss_of_logits(cls, options: Options, data: TrainingSet) -> LossOfLogits:
        """The classification of either branch before the compensation has learned anything."""
        weights = _class_weights(options, data)
        return lambda logits, labels, progress: classification(logits, labels, **weights)

    def notices(self) -> list[str]:
        """That dropout in the branches works against the consistency of what they give."""
        acts = len(self.streams) == 2 and self.options.consistency and _has_dropout(self.network.branches)
        return [DROPOUT] if acts else []

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """`classification_<branch>` of each branch, and `consistency` where there are two."""
        names = list(self.streams)
        sizes = [len(batch.images[name]) for name in names]
        logits = self.network(joined([batch.images[name] for name in names]))
        parts = {name: dict(zip(names, logits[name].split(sizes), strict=True)) for name in names}
        terms = {
            f"classification_{name}": self._classification(name, parts[name][name], batch.labels[name])
            for name in names
        }
        if len(names) == 2 and self.options.consistency:
            first, second = (parts[name] for name in names)
            apart = sum(_mean_square(first[stream], second[stream]) for stream in names)
            terms["consistency"] = self.options.consistency * apart
        return terms

    def _classification(self, branch: str, logits: Tensor, labels: Tensor) -> Tensor:
        weights = {"positive_weight": self.positive_weight, "negative_weight": self.negative_weight}
        return classification(logits, labels, **weights, **self._compensated(branch))

    def _compensated(self, branch: str) -> dict[str, Tensor]:
        kind = self.options.compensation
        return {} if kind == "none" else self.compensation["shared" if kind == "shared" else branch]()

    def predict(self, images: Tensor) -> Tensor:
        return self.predict_parts(images)[0]

    def predict_parts(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The average of the branches, and each of two alone; all are logits without compensation."""
        logits = {name: value.float() for name, value in self.network(images).items()}
        if len(logits) == 1:
            return next(iter(logits.values())), {}
        average = mean_probabilities if self.options.average == "probabilities" else mean_logits
        return average(logits.values()), logits

    def param_groups(self) -> list[dict]:
        """The compensation has no weight decay: it would pull the scale to 1 and the shift to 0."""
        return [
            {"name": "network", "params": list(self.network.parameters())},
            {"name": "compensation", "params": list(self.compensation.parameters()), "weight_decay": 0.0},
        ]


def classification(logits: Tensor, labels: Tensor, **vectors: Tensor | None) -> Tensor:
    """-(1/K) sum_k omega_k [y log s(x s+ + m+) + (1 - y) log(1 - s(x s- + m-))], mean over images.

    `vectors` [C] are omega and the compensation by the names of `ops.sigmoid_loss`.
    """
    labels = multi_hot(labels, logits.shape[1])
    total = ops.sigmoid_loss(logits, labels, **vectors, reduction="sum")
    return global_mean(total, (labels >= 0).sum())


def _has_dropout(network: nn.Module) -> bool:
    """As a module, or as timm's networks have it before their classifier."""
    modules = list(network.modules())
    return any(getattr(m, "drop_rate", None) or isinstance(m, nn.modules.dropout._DropoutNd) and m.p for m in modules)


def _class_weights(options: Options, data: TrainingSet) -> dict[str, Tensor | None]:
    """omega, float64 [C]: exp(1 - rho) of positives and exp(rho) of negatives, rho the share of images with the class.

    Inferred from the first author's earlier code (Guo et al., CVPR 2019), after Li et al., ACPR 2015.
    """
    share = torch.tensor(data.counts, dtype=torch.float64) / max(data.images, 1)
    given = options.class_weights == "frequency"
    weights = {"positive_weight": (1 - share).exp(), "negative_weight": share.exp()}
    return {name: values if given else None for name, values in weights.items()}


def _compensations(kind: str, branches: tuple[str, ...], classes: int) -> nn.ModuleDict:
    names = {"each": branches, "shared": ("shared",), "none": ()}[kind]
    return nn.ModuleDict({name: Compensation(classes) for name in names})


def _mean_square(one: Tensor, other: Tensor) -> Tensor:
    """(1/K) ||u - u^||^2, mean over images; at least float32, since squared logits leave the range of float16."""
    wide = torch.promote_types(one.dtype, torch.float32)
    total = (one.to(wide) - other.to(wide)).square().sum()
    return global_mean(total, torch.tensor(one.numel(), device=one.device))
