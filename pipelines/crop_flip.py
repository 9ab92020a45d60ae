"""A border of zeros around the picture, a random size x size crop of that, a flip: the usual recipe for CIFAR.

A picture of another size is squashed to size x size first.
"""

from __future__ import annotations

import numpy as np

from fastlt.augmentation import options, resize, windows
from fastlt.augmentation.draws import Draws

ONE_PASS = True


def parameters(config, key, positions, shapes):
    draws = Draws(key, positions)
    start = [draws.integers(name, 2 * config.pad + 1) - config.pad for name in ("crop top", "crop left")]
    start = np.stack(start, axis=1).astype(np.int32)
    return {
        **resize.parameters(windows.whole(shapes)),
        "crop_start": start,
        **options.parameters(config, draws),
    }


def graph(config, pictures, parameters, device, encoding, half=False):
    from nvidia.dali import types

    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    shape = types.Constant(np.array([config.size, config.size], np.int32))
    image = resize.with_border(image, parameters["crop_start"], shape)
    return options.apply(config, image, parameters, half)
