"""What a method is: the streams it draws, its loss terms, and how it predicts. The trainer knows no method by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from fastlt.batch import Batch, StreamSpec


@dataclass(frozen=True)
class Progress:
    """Where a run is; `epoch` is a fraction, such as 2.5."""

    step: int
    steps: int
    epoch: float
    epochs: float


@dataclass(frozen=True)
class TrainingSet:
    """What a method and its evaluation know of the training split, and every checkpoint keeps."""

    name: str
    fingerprint: str  # of the images chosen and how they are stored
    classes: list[str]
    counts: list[int]  # images in which each class is positive
    groups: dict[str, list]  # name -> [fewest, most] training images of a class, None for no bound
    multi_label: bool

    @classmethod
    def of(cls, records) -> TrainingSet:
        """Of the training split's `ShardSet`."""
        groups = {name: list(limits) for name, limits in records.groups.items()}
        name, fingerprint = records.manifest["name"], records.manifest["fingerprint"]
        return cls(name, fingerprint, list(records.classes), records.counts.tolist(), groups, records.multi_label)

    def as_dict(self) -> dict:
        return asdict(self)


class Method(nn.Module, ABC):
    """`forward` is the whole training step, so that DistributedDataParallel and torch.compile see all of it."""

    streams: dict[str, StreamSpec]
    epoch_of: str  # the stream whose epochs are the run's

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Scalar loss terms by name; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """float [B, C] scores of images [B, 3, H, W], on which every metric is computed."""

    def param_groups(self) -> list[dict]:
        """Groups of parameters that learn, by name; a group may give `lr_scale` or its own `weight_decay`."""
        return [{"name": "all", "params": [p for p in self.parameters() if p.requires_grad]}]
