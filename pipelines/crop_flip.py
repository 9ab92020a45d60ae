"""A border of zeros around the picture, a random size x size crop of that, a flip: the usual recipe for CIFAR.

A picture of another size is squashed to size x size first.
"""

from __future__ import annotations

import numpy as np

from fastlt.augmentation import options, resize, windows
from fastlt.augmentation.draws import Draws


def parameters(config, key, positions, shapes):
    draws = Draws(key, positions)
    start = [draws.integers(name, 2 * config.pad + 1) - config.pad for name in ("crop top", "crop left")]
    start = np.stack(start, axis=1).astype(np.int32)
    return {
        **resize.parameters(windows.whole(shapes), config.size),
        **resize.border_parameters("crop", start, np.full_like(start, config.size)),
        **options.parameters(config, draws),
    }


def graph(config, pictures, parameters, device, encoding, half=False):
    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    image = resize.with_border(image, parameters["crop_start"], parameters["crop_shape"], parameters["crop_result"])
    return options.apply(config, image, parameters, half)
