"""The whole picture resized to size x size, whatever its shape, then the options, such as flips both ways."""

from __future__ import annotations

from fastlt.augmentation import options, resize, windows
from fastlt.augmentation.draws import Draws

ONE_PASS = True


def parameters(config, key, positions, shapes):
    draws = Draws(key, positions)
    return {**resize.parameters(windows.whole(shapes)), **options.parameters(config, draws)}


def graph(config, pictures, parameters, device, encoding, half=False):
    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    return options.apply(config, image, parameters, half)
