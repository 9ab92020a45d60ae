"""The recipes of augmentation: `load(name)` gives one of `pipelines/`.

A recipe is a module of two functions. `parameters(config, key, positions, shapes)` draws, in numpy, all that is random
about a batch; `graph(config, pictures, parameters, device, encoding, half)` says in DALI operators what is done with
it. The graph itself holds nothing random, so a picture depends on (key, position) alone.

`ONE_PASS = True` in a recipe says that its graph is decode, resize, border and `options` in that order and no more.
Then, on the CPU, fastlt.one_pass does what the graph says, from the same parameters, several times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Literal, Protocol, get_args

import numpy as np

from fastlt.config import PipelineConfig
from fastlt.errors import UserError

NAMES: tuple[str, ...] = get_args(PipelineConfig.model_fields["name"].annotation)


class Recipe(Protocol):
    """What a module of `pipelines/` offers. B is the number of pictures."""

    def parameters(
        self, config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray
    ) -> dict[str, np.ndarray]:
        """All that is drawn, by name, each float32 or int32 with B rows; the names depend on the config alone.

        positions: int64 [B], places in the stream. shapes: int32 [B, 2], height and width after EXIF orientation.
        """

    def graph(
        self,
        config: PipelineConfig,
        pictures: Any,
        parameters: Mapping[str, Any],
        device: Literal["cpu", "gpu"],
        encoding: Literal["encoded", "raw"],
        half: bool = False,
    ) -> Any:
        """DataNode of the pictures [size, size, 3], normalised, float32 or (half) float16, on `device`.

        pictures: DataNode of encoded files (uint8 [bytes]) or raw pictures (uint8 [H, W, 3]); parameters: DataNodes
        on the CPU, one for each array of `parameters` and of `resize.border_parameters`.
        """


def load(name: str) -> Recipe:
    """The recipe `pipelines/<name>.py`. Raises UserError for an unknown name."""
    if name not in NAMES:
        near = get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(NAMES)}"
        raise UserError(f"unknown pipeline {name}; {hint}")
    return import_module(f"fastlt.pipelines.{name}")
