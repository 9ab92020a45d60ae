"""What every training recipe ends with: flips, a policy, colour, normalisation, cutout; each where the config asks.

They are applied in that order. Whether a step stands in the graph depends on the config alone; whether and how it acts
on a picture depends on that picture's row of `parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastlt.augmentation import color, policies
from fastlt.augmentation.draws import Draws
from fastlt.config import PipelineConfig


def parameters(config: PipelineConfig, draws: Draws, colors: color.ColorMap | None = None) -> dict[str, np.ndarray]:
    """Draws for B pictures what `apply` needs; `colors` is a recipe's own change of colour, applied first."""
    drawn = {"mirror": draws.chance("horizontal flip", config.horizontal_flip).astype(np.int32)}
    if config.vertical_flip:
        drawn["upside_down"] = draws.chance("vertical flip", config.vertical_flip).astype(np.int32)
    if config.rand_augment or config.auto_augment:
        drawn |= policies.parameters(config, draws)
    if config.color_jitter:
        colors = color.jitter(colors or color.identity(len(draws)), config.color_jitter, draws)
    if config.grayscale:
        colors = color.grayscale(colors or color.identity(len(draws)), draws.chance("grayscale", config.grayscale))
    if colors:
        drawn |= {"color_matrix": colors.matrix.astype(np.float32), "color_shift": colors.shift.astype(np.float32)}
    if config.cutout:
        drawn |= _cutout(config, draws)
    return drawn


def apply(config: PipelineConfig, image, parameters: Mapping, half: bool):
    """DataNode [size, size, 3], normalised, of pixels in 0..255 of the same shape."""
    from nvidia.dali import fn, types

    if "upside_down" in parameters:
        image = fn.flip(image, horizontal=0, vertical=parameters["upside_down"])
    if "policy_operation" in parameters:
        image = policies.apply(config, fn.cast(image, dtype=types.UINT8), parameters)
    if "color_matrix" in parameters:
        image = fn.coord_transform(image, M=parameters["color_matrix"], T=parameters["color_shift"])
        image = fn.cast(image, dtype=types.UINT8)  # rounds, and clips to 0..255
    image = normalise(config, image, half, mirror=parameters["mirror"])
    if "cutout_start" in parameters:
        image = fn.erase(
            image,
            anchor=parameters["cutout_start"],
            shape=parameters["cutout_shape"],
            axis_names="HW",
            fill_value=0.0,  # the mean colour
        )
    return image


def normalise(config: PipelineConfig, image, half: bool, mirror=0):
    """DataNode [size, size, 3], float32 or (half) float16: (image / 255 - mean) / std, mirrored where asked."""
    from nvidia.dali import fn, types

    return fn.crop_mirror_normalize(
        image,
        mirror=mirror,
        mean=[255 * value for value in config.mean],
        std=[255 * value for value in config.std],
        dtype=types.FLOAT16 if half else types.FLOAT,
        output_layout="HWC",
    )


def _cutout(config: PipelineConfig, draws: Draws) -> dict[str, np.ndarray]:
    """A square around a uniform centre, cut at the border (DeVries and Taylor, "Cutout", 2017)."""
    centre = np.stack([draws.integers(name, config.size) for name in ("cutout row", "cutout column")], axis=1)
    start = centre - config.cutout // 2
    end = np.minimum(start + config.cutout, config.size)
    start = np.maximum(start, 0)
    chosen = draws.chance("cutout", config.cutout_probability)[:, None]
    return {"cutout_start": start.astype(np.float32), "cutout_shape": ((end - start) * chosen).astype(np.float32)}
