"""What passes between the loader and a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from torch import Tensor

from fastlt.config import PipelineConfig, StreamConfig


@dataclass(frozen=True)
class StreamSpec:
    """One stream of a method: which images, how many views of each, and its share of `train.batch`."""

    stream: StreamConfig = field(default_factory=StreamConfig)
    then: StreamConfig | None = None  # from the method's second stage on
    views: int = 1
    batch_share: float = 1.0
    pipeline: PipelineConfig | None = None  # default: the run's own


@dataclass
class Batch:
    """What one step sees; every field is a dict by stream name.

    `images`: float [B, 3, H, W], channels-last in memory, on the device; [k, B, 3, H, W] with k views.
    `labels`: int64 [B], or int8 [B, C] in {1, 0, -1}. `position`, `index`: int64 [B] in the stream and in the split.
    """

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    position: dict[str, Tensor]
    index: dict[str, Tensor]

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into `count` parts of equal size, for gradient accumulation."""
        return [self if count == 1 else self._part(number, count) for number in range(count)]

    def _part(self, number: int, count: int) -> Batch:
        def cut(value: Tensor) -> Tensor:
            return value.chunk(count, dim=1 if value.ndim == 5 else 0)[number]

        return Batch(**{f.name: {k: cut(v) for k, v in getattr(self, f.name).items()} for f in fields(self)})
