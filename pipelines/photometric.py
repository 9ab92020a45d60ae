"""Crop, squash, photometric distortion, flip: the augmentation of VOC-LT and COCO-LT (Wu et al., ECCV 2020)."""

from __future__ import annotations

import numpy as np
from nvidia.dali.data_node import DataNode

from fastlt import augment
from fastlt.augment import Draws
from fastlt.config import PipelineConfig
from fastlt.pipelines import steps

SIDES = (0.8, 1.0)  # of each side, drawn apart
RATIOS = (0.5, 2.0)  # width to height of the window


def parameters(config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """Each side cut to 0.8 to 1 of itself, the longer one further where the ratio would leave 1/2 to 2."""
    draws = Draws(key, positions)
    height = shapes[:, 0] * draws.uniform("height", *SIDES)
    width = shapes[:, 1] * draws.uniform("width", *SIDES)
    height = np.minimum(height, width / RATIOS[0])
    width = np.minimum(width, height * RATIOS[1])
    inner = np.maximum(np.stack([height, width], 1).astype(np.int64), 1)
    return augment.somewhere(draws, inner, shapes) | steps.options(config, draws, distorted=True)


def graph(
    config: PipelineConfig,
    pictures: DataNode,
    parameters: dict[str, DataNode],
    device: str,
    encoding: str,
    half: bool = False,
) -> DataNode:
    """Decode the window only, squash, distort, finish."""
    pictures = steps.decode_window(pictures, parameters["anchor"], parameters["shape"], device, encoding)
    return steps.finish(config, steps.resize(pictures, config.size), parameters, half)
