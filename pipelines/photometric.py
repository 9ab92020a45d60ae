"""The photometric distortion of the distribution-balanced framework: crop, squash, distort the colours, flip.

Each side is cropped to U(0.8, 1) of itself with an aspect ratio of 1/2 to 2, then squashed to size x size.
Brightness +-32, contrast and saturation x U(0.5, 1.5), hue +-18 degrees and a swap of channels come each with
probability 1/2 (Liu et al., "SSD", ECCV 2016; settings of Wu et al., "Distribution-balanced loss", ECCV 2020). They
are applied in this order, as affine maps of RGB, where the original has HSV and applies contrast sometimes last.
"""

from __future__ import annotations

import numpy as np

from fastlt.augmentation import color, options, resize, windows
from fastlt.augmentation.draws import Draws

ONE_PASS = True
SHORTEST_SIDE = 0.8
RATIO = (0.5, 2.0)  # width / height
BRIGHTNESS = 32.0  # of 255
FACTOR = (0.5, 1.5)
HUE = 18.0  # degrees
ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def parameters(config, key, positions, shapes):
    draws = Draws(key, positions)
    window = windows.random_sides(draws, shapes, SHORTEST_SIDE, RATIO)
    return {**resize.parameters(window), **options.parameters(config, draws, distortion(draws))}


def distortion(draws: Draws) -> color.ColorMap:
    """The colours of B pictures; contrast scales about black, as in SSD."""

    def half_of(name: str, low: float, high: float, nothing: float) -> np.ndarray:
        return np.where(draws.chance(f"distort {name}", 0.5), draws.uniform(name, low, high), nothing)

    order = np.where(draws.chance("distort channels", 0.5), draws.integers("channels", len(ORDERS)), 0)
    colors = color.identity(len(draws))
    colors = color.brighten(colors, half_of("shift", -BRIGHTNESS, BRIGHTNESS, 0.0))
    colors = color.scale(colors, half_of("scale", *FACTOR, 1.0))
    colors = color.saturate(colors, half_of("chroma", *FACTOR, 1.0))
    colors = color.rotate_hue(colors, half_of("chroma angle", -HUE, HUE, 0.0))
    return color.swap_channels(colors, ORDERS[order])


def graph(config, pictures, parameters, device, encoding, half=False):
    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    return options.apply(config, image, parameters, half)
