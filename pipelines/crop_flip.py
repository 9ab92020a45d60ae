"""Pad, random crop of the picture's own size, flip: the augmentation of CIFAR (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

import numpy as np
from nvidia.dali.data_node import DataNode

from fastlt import augment
from fastlt.augment import Draws
from fastlt.config import PipelineConfig
from fastlt.pipelines import steps


def parameters(config: PipelineConfig, key: int, positions: np.ndarray, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """A window as large as the picture, moved by up to `pad` pixels of the final size in each direction."""
    draws = Draws(key, positions)
    reach = np.round(config.pad * shapes / config.size).astype(np.int64)
    moved = np.stack([draws.integers("top", 2 * reach[:, 0] + 1), draws.integers("left", 2 * reach[:, 1] + 1)], 1)
    return augment.window(moved - reach, shapes) | steps.options(config, draws)


def graph(
    config: PipelineConfig,
    pictures: DataNode,
    parameters: dict[str, DataNode],
    device: str,
    encoding: str,
    half: bool = False,
) -> DataNode:
    """Decode, window with a black border, resize where the size differs, finish."""
    pictures = steps.decode(pictures, device, encoding)
    pictures = steps.padded_window(pictures, parameters["anchor"], parameters["shape"])
    return steps.finish(config, steps.resize(pictures, config.size), parameters, half)
