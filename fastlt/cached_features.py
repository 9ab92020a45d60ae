"""What the frozen stages of a network make of every picture of a set, in each way in which its recipe shows it.

For recipes that show whole pictures and at most flip them, so that these ways are one, two or four: then a step sends
the numbers of its pictures, and training begins behind the frozen stages.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from fastlt.config import PipelineConfig
from fastlt.dali import Source
from fastlt.errors import UserError
from fastlt.resident import sent


def ways(config: PipelineConfig) -> Iterator[PipelineConfig]:
    """Recipes that each show every picture in one of the ways of `config`.

    Raises UserError if it does more than to show pictures whole, mirrored or upside down.
    """
    steps = ("grayscale", "color_jitter", "cutout", "rand_augment", "auto_augment")
    more = [f"pipeline.{step}" for step in steps if getattr(config, step)]
    if config.name != "squash" or more:
        raise UserError(
            "model.cache_frozen serves pipeline.name=squash with nothing but flips, not "
            f"{', '.join(more) or f'pipeline.name={config.name}'}; change that, or leave model.cache_frozen out"
        )
    for vertical, horizontal in itertools.product(_chosen(config.vertical_flip), _chosen(config.horizontal_flip)):
        yield config.model_copy(update={"vertical_flip": vertical, "horizontal_flip": horizontal})


class Graph:
    """Like `dali.Graph`, of features [ways, N, h, w, C] that are kept: `source` gives the numbers of pictures."""

    def __init__(self, config: PipelineConfig, features: Tensor, source: Source) -> None:
        self.features, self.source = features.flatten(0, 1), source
        self._number = features.shape[1]
        self._mirrored, self._upside_down = len(_chosen(config.horizontal_flip)), len(_chosen(config.vertical_flip))

    def run(self, iteration: int, *cuda_stream: torch.cuda.Stream) -> Tensor:
        """The batch of an iteration, [B, h, w, C], made on the present stream."""
        fed = self.source(iteration)
        mirrored = fed.drawn["mirror"] if self._mirrored > 1 else 0
        way = mirrored + (self._mirrored * fed.drawn["upside_down"] if self._upside_down > 1 else 0)
        return self.features[sent(way * self._number + fed.pictures, self.features.device)]

    def close(self) -> None:
        """Nothing is left running."""


def _chosen(chance: float) -> tuple[float, ...]:
    """The chances of a flip that, one by one, give all that a flip by chance may give."""
    return (0.0, 1.0) if 0 < chance < 1 else (chance,)
