"""What the frozen stages of a network make of every picture of a set, in each way in which its recipe shows it.

For recipes that show whole pictures and at most flip them, so that these ways are two or four: then a step sends the
numbers of its pictures, and training begins behind the frozen stages.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from fastlt.config import PipelineConfig
from fastlt.dali import Source
from fastlt.errors import UserError


def ways(config: PipelineConfig) -> Iterator[PipelineConfig]:
    """Recipes that each show every picture in one of the ways of `config`.

    Raises UserError if it does more than to show pictures whole, mirrored or upside down.
    """
    steps = ("grayscale", "color_jitter", "cutout", "rand_augment", "auto_augment")
    more = [f"pipeline.{step}" for step in steps if getattr(config, step)]
    if config.name != "squash" or more:
        raise UserError(
            f"model.cache_frozen: with {', '.join(more) or f'pipeline.name={config.name}'} a picture "
            "looks different in each epoch; give pipeline.name=squash with flips alone, or leave model.cache_frozen out"
        )
    flips = [(0.0, 1.0) if chance else (0.0,) for chance in (config.vertical_flip, config.horizontal_flip)]
    for vertical, horizontal in itertools.product(*flips):
        yield config.model_copy(update={"vertical_flip": vertical, "horizontal_flip": horizontal})


class Graph:
    """Like `dali.Graph`, of features [ways, N, h, w, C] that are kept: `source` gives the numbers of pictures."""

    def __init__(self, config: PipelineConfig, features: Tensor, source: Source) -> None:
        self.features, self.source = features, source
        self._upside_down = 2 if config.horizontal_flip else 1  # ways further than upright
        self._iteration = 0

    def run(self, *cuda_stream: torch.cuda.Stream) -> Tensor:
        """The next batch, [B, h, w, C], made on the present stream."""
        fed = self.source(self._iteration)
        self._iteration += 1
        device = self.features.device
        way = fed.drawn["mirror"] + self._upside_down * fed.drawn.get("upside_down", 0)
        way, number = (torch.from_numpy(rows).to(device, torch.int64) for rows in (way, fed.pictures))
        return self.features[way, number]

    def close(self) -> None:
        """Nothing is left running."""
