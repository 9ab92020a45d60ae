"""A random window of the picture, resized: the augmentation of ImageNet (Szegedy et al., CVPR 2015, section 6)."""

from __future__ import annotations

import numpy as np
from nvidia.dali.data_node import DataNode

from fastlt import augment
from fastlt.augment import Draws
from fastlt.config import PipelineConfig
from fastlt.pipelines import steps

TRIES = 10


def parameters(config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """A window of `scale` of the area and a log-uniform `ratio` of width to height, anywhere inside."""
    draws = Draws(key, positions)
    inner = _size(config, draws, shapes)
    return augment.somewhere(draws, inner, shapes) | steps.options(config, draws)


def _size(config: PipelineConfig, draws: Draws, shapes: np.ndarray) -> np.ndarray:
    """int64 [B, 2]: the first of ten tries that fits, else the largest centred ratio, as torchvision has it."""
    height, width = shapes[:, 0].astype(np.float64), shapes[:, 1].astype(np.float64)
    low, high = np.log(config.ratio[0]), np.log(config.ratio[1])
    size = np.zeros((len(shapes), 2), np.int64)
    for number in range(TRIES):
        area = height * width * draws.uniform(f"area {number}", *config.scale)
        ratio = np.exp(draws.uniform(f"ratio {number}", low, high))
        tried = np.round(np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], 1)).astype(np.int64)
        fits = (size == 0).all(1) & (tried > 0).all(1) & (tried <= shapes).all(1)
        size[fits] = tried[fits]
    return np.where((size == 0).all(1)[:, None], _largest(config, height, width), size)


def _largest(config: PipelineConfig, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """int64 [B, 2]: the largest window whose ratio is allowed."""
    ratio = np.clip(width / height, *config.ratio)
    return np.maximum(np.round(np.stack([np.minimum(height, width / ratio), np.minimum(width, height * ratio)], 1)), 1).astype(np.int64)


def graph(
    config: PipelineConfig,
    pictures: DataNode,
    parameters: dict[str, DataNode],
    device: str,
    encoding: str,
    half: bool = False,
) -> DataNode:
    """Decode the window only, resize, finish."""
    pictures = steps.decode_window(pictures, parameters["anchor"], parameters["shape"], device, encoding)
    return steps.finish(config, steps.resize(pictures, config.size), parameters, half)
