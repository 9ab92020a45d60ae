"""The steps that the graphs are made of, and the parameters of those that every graph may have.

A recipe's `parameters` says what is drawn, in numpy; its `graph` says what is done with it, in DALI operators. No
operator here draws anything itself.
"""

from __future__ import annotations

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from fastlt import augment, color
from fastlt.augment import Draws
from fastlt.color import ColorMap
from fastlt.config import PipelineConfig
from fastlt.pipelines import policies


def options(config: PipelineConfig, draws: Draws, distorted: bool = False) -> dict[str, np.ndarray]:
    """Parameters of the steps after the window: flips, policy, colours, cutout; only those that the config has."""
    found = augment.flips(config, draws) | augment.cutout(config, draws) | policies.parameters(config, draws)
    if distorted or config.color_jitter or config.grayscale:
        colors = ColorMap(len(draws))
        if distorted:
            color.distort(colors, draws)
        if config.color_jitter:
            color.jitter(colors, config.color_jitter, draws)
        if config.grayscale:
            color.grayscale(colors, config.grayscale, draws)
        found |= colors.parameters()
    return found


def decode(pictures: DataNode, device: str, encoding: str) -> DataNode:
    """uint8 HWC RGB, upright, from encoded files or raw pixels."""
    if encoding == "raw":
        return pictures.gpu() if device == "gpu" else pictures
    return fn.decoders.image(pictures, device="mixed" if device == "gpu" else "cpu", output_type=types.RGB)


def decode_window(pictures: DataNode, anchor: DataNode, shape: DataNode, device: str, encoding: str) -> DataNode:
    """Only the window, int32 (top, left) and (height, width) inside the picture; the rest is not decoded."""
    place = {"normalized_anchor": False, "normalized_shape": False, "axis_names": "HW"}
    if encoding == "raw":
        return fn.slice(decode(pictures, device, encoding), anchor, shape, **place)
    decoder = "mixed" if device == "gpu" else "cpu"
    return fn.decoders.image_slice(pictures, anchor, shape, device=decoder, output_type=types.RGB, **place)


def padded_window(pictures: DataNode, anchor: DataNode, shape: DataNode) -> DataNode:
    """A window that may reach over the border, where it is black."""
    return fn.slice(
        pictures,
        anchor,
        shape,
        normalized_anchor=False,
        normalized_shape=False,
        axis_names="HW",
        out_of_bounds_policy="pad",
        fill_values=0,
    )


def resize(pictures: DataNode, size: int) -> DataNode:
    """To size x size; a triangular filter when it gets smaller, as Pillow's BILINEAR."""
    return fn.resize(pictures, size=(size, size), interp_type=types.INTERP_LINEAR, antialias=True)


def finish(config: PipelineConfig, pictures: DataNode, parameters: dict[str, DataNode], half: bool = False) -> DataNode:
    """Policy, colours, cutout, flips, normalisation: float32 or float16 HWC."""
    pictures = policies.apply(config, pictures, parameters)
    if "color_matrix" in parameters:
        moved = fn.coord_transform(
            pictures, M=parameters["color_matrix"], T=parameters["color_shift"], dtype=types.FLOAT
        )
        pictures = math.clamp(fn.reshape(moved, layout="HWC"), 0.0, 255.0)
    if "cutout_anchor" in parameters:
        mean = [255 * share for share in config.mean]
        pictures = fn.erase(
            pictures,
            anchor=parameters["cutout_anchor"],
            shape=parameters["cutout_shape"],
            axis_names="HW",
            fill_value=mean,
        )
    if "vertical" in parameters:
        pictures = fn.flip(pictures, horizontal=0, vertical=parameters["vertical"])
    return normalize(config, pictures, half, parameters.get("mirror", 0))


def normalize(config: PipelineConfig, pictures: DataNode, half: bool, mirror: DataNode | int = 0) -> DataNode:
    """(x / 255 - mean) / std, mirrored where asked."""
    return fn.crop_mirror_normalize(
        pictures,
        dtype=types.FLOAT16 if half else types.FLOAT,
        output_layout="HWC",
        mean=[255 * share for share in config.mean],
        std=[255 * share for share in config.std],
        mirror=mirror,
    )
