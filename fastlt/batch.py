"""What passes between the loader and a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
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


def joined(parts: list[Tensor]) -> Tensor:
    """All rows of tensors [B_i, ...], one part after the other; a view where they lie so in memory.

    They do where the loader made them: streams of one pipeline are rows of one tensor.
    """
    if torch.compiler.is_compiling():
        return torch.cat(parts)  # a compiler knows no addresses
    first, places = parts[0], []
    for part in parts:
        if part.requires_grad or _layout(part) != _layout(first):
            return torch.cat(parts)
        places.append(part.storage_offset())
    ends = [place + len(part) * part.stride(0) for place, part in zip(places, parts, strict=True)]
    if places[1:] != ends[:-1]:
        return torch.cat(parts)
    return first.as_strided((sum(map(len, parts)), *first.shape[1:]), first.stride())


def _layout(part: Tensor) -> tuple:
    """What rows of one tensor have in common."""
    return part.untyped_storage().data_ptr(), part.dtype, part.shape[1:], part.stride()
