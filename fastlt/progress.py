"""Where a run is, and what it trains on: what methods and losses know beside the batch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from fastlt.errors import UserError


@dataclass(frozen=True)
class Progress:
    """Where a run is; `epoch` is a fraction, such as 2.5."""

    step: int
    steps: int
    epoch: float
    epochs: float
    parts: int = 1  # into which the batch of a step is cut; what forward gives of them is averaged

    def reached(self, share: float) -> bool:
        """Whether that share of the run lies behind."""
        return self.step >= stage_start(share, self.steps)


def stage_start(share: float, steps: int) -> int:
    """The first step of a stage that begins after that share of a run of so many steps."""
    return math.ceil(share * steps - 1e-9)


def second_stage_start(share: float, steps: int) -> int:
    """`stage_start` of a run's second stage. Raises UserError if no step would be left for it."""
    start = stage_start(share, steps)
    if start >= steps:
        fewest = math.ceil(round(1 / (1 - share), 6))
        raise UserError(
            f"a run of {steps} steps leaves none for the second stage of its method, which begins after {share:.4g} of "
            f"the run; make it {fewest} steps or more (train.steps or train.epochs), or the first stage a smaller share"
        )
    return start


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
    attributes: dict[str, list[int]] = field(default_factory=dict)  # name -> its classes, of which an image has one
    path_column: str = "file"  # what the table it was made of calls the pictures' paths

    @classmethod
    def of(cls, records) -> TrainingSet:
        """Of the training split's `ShardSet`."""
        groups = {name: list(limits) for name, limits in records.groups.items()}
        name, fingerprint = records.manifest["name"], records.manifest["fingerprint"]
        return cls(
            name,
            fingerprint,
            list(records.classes),
            records.counts.tolist(),
            groups,
            records.multi_label,
            len(records),
            records.attributes,
            str(records.manifest.get("source", {}).get("path_column", "file")),
        )

    def as_dict(self) -> dict:
        return asdict(self)
