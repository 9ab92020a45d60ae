"""What validation, test and prediction see: the same decoder and the same resize as in training, nothing drawn."""

from __future__ import annotations

import numpy as np
from nvidia.dali.data_node import DataNode

from fastlt import augment
from fastlt.config import PipelineConfig
from fastlt.pipelines import steps


def parameters(config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """The whole picture, or its central square of `crop_share` of the shorter side."""
    if config.resize == "squash":
        return augment.whole(shapes)
    side = np.maximum(np.round(shapes.min(1) * config.crop_share), 1).astype(np.int64)
    inner = np.stack([side, side], 1)
    return augment.window((shapes - inner) // 2, inner)


def graph(
    config: PipelineConfig,
    pictures: DataNode,
    parameters: dict[str, DataNode],
    device: str,
    encoding: str,
    half: bool = False,
) -> DataNode:
    """Decode the window, resize, normalise."""
    pictures = steps.decode_window(pictures, parameters["anchor"], parameters["shape"], device, encoding)
    return steps.normalize(config, steps.resize(pictures, config.size), half)
