"""The whole picture squashed to a square, flipped: multi-label recognition must not crop an object away."""

from __future__ import annotations

import numpy as np
from nvidia.dali.data_node import DataNode

from fastlt.augment import Draws
from fastlt.config import PipelineConfig
from fastlt.pipelines import steps


def parameters(config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """Flips and the config's options; the window is the picture."""
    return steps.options(config, Draws(key, positions))


def graph(
    config: PipelineConfig,
    pictures: DataNode,
    parameters: dict[str, DataNode],
    device: str,
    encoding: str,
    half: bool = False,
) -> DataNode:
    """Decode, squash, finish."""
    pictures = steps.decode(pictures, device, encoding)
    return steps.finish(config, steps.resize(pictures, config.size), parameters, half)
