"""A window of random area and ratio, resized to size x size (Szegedy et al., CVPR 2015), then the options."""

from __future__ import annotations

from fastlt.augmentation import options, resize, windows
from fastlt.augmentation.draws import Draws

ONE_PASS = True


def parameters(config, key, positions, shapes):
    draws = Draws(key, positions)
    window = windows.random_resized(draws, shapes, config.scale, config.ratio)
    return {**resize.parameters(window), **options.parameters(config, draws)}


def graph(config, pictures, parameters, device, encoding, half=False):
    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    return options.apply(config, image, parameters, half)
