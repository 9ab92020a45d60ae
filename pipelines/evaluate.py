"""Validation, test and prediction: the whole picture, or its centre, at size x size. Nothing is random."""

from __future__ import annotations

from fastlt.augmentation import options, resize, windows

ONE_PASS = True


def parameters(config, key, positions, shapes):
    centre = config.resize == "crop"
    window = windows.centre_square(shapes, config.crop_share) if centre else windows.whole(shapes)
    return resize.parameters(window)


def graph(config, pictures, parameters, device, encoding, half=False):
    image = resize.decode(pictures, parameters, device, encoding)
    image = resize.resize(image, parameters, config.size, device)
    return options.normalise(config, image, half)
