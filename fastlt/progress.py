"""Where a run is, and what it trains on: what methods and losses know beside the batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass


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
    images: int

    @classmethod
    def of(cls, records) -> TrainingSet:
        """Of the training split's `ShardSet`."""
        groups = {name: list(limits) for name, limits in records.groups.items()}
        name, fingerprint = records.manifest["name"], records.manifest["fingerprint"]
        counts = records.counts.tolist()
        return cls(name, fingerprint, list(records.classes), counts, groups, records.multi_label, len(records))

    def as_dict(self) -> dict:
        return asdict(self)
