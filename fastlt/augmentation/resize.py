"""Decoding a window of a picture and resizing it as Pillow does, in DALI: bilinear with antialiasing, within 2/255.

This is the resize of the GPU, and of a CPU without the compiled library; with it, fastlt.one_pass resizes.

DALI and Pillow weigh the same pixels by the same triangle; they differ where the triangle reaches over the border,
which is on the outermost ring of a picture made smaller. There DALI repeats the border pixel (off by up to 16/255 on
photos), Pillow leaves the missing pixels out and scales the other weights up. To do the same here, a margin of zeros is
laid around the window and the ring is multiplied by what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def parameters(window: np.ndarray) -> dict[str, np.ndarray]:
    """What a recipe draws to show windows (int32 [B, 4]: top, left, height, width)."""
    start, shape = window[:, :2], window[:, 2:]  # DALI takes dense arrays only
    return {"window_start": np.ascontiguousarray(start), "window_shape": np.ascontiguousarray(shape)}


def border_parameters(sides: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """What `resize` needs besides, for windows of `sides` (int32 [B, 2]: height, width) resized to size x size."""
    margin = _margin(sides, size)
    gain = _edge_gain(sides, size)
    return {
        "margin_start": -margin,
        "margin_shape": sides + 2 * margin,
        "inner_start": margin.astype(np.float32),
        "inner_end": (margin + sides).astype(np.float32),
        "row_gain": _ring(gain[:, 0], size)[:, :, None, None],
        "column_gain": _ring(gain[:, 1], size)[:, None, :, None],
    }


def decode(pictures, parameters: Mapping, device: str, encoding: str):
    """DataNode uint8 [h, w, 3] of the window; of an encoded picture only the window is decoded."""
    from nvidia.dali import fn, types

    window = {"start": parameters["window_start"], "shape": parameters["window_shape"], "axis_names": "HW"}
    if encoding == "raw":
        return fn.slice(pictures.gpu() if device == "gpu" else pictures, **window)
    decoder = "mixed" if device == "gpu" else "cpu"
    return fn.decoders.image_slice(pictures, device=decoder, output_type=types.RGB, **window)


def resize(image, parameters: Mapping, size: int, device: str):
    """DataNode float32 [size, size, 3] in 0..255, of uint8 [h, w, 3]."""
    from nvidia.dali import fn, types

    resized = fn.resize(
        with_border(image, parameters["margin_start"], parameters["margin_shape"]),
        size=[size, size],
        roi_start=parameters["inner_start"],
        roi_end=parameters["inner_end"],
        interp_type=types.INTERP_LINEAR,
        dtype=types.FLOAT,
    )
    rows, columns = parameters["row_gain"], parameters["column_gain"]
    if device == "gpu":  # two short vectors travel, not their product
        return resized * (rows.gpu() * columns.gpu())
    return resized * (rows * columns)


def with_border(image, start, shape):
    """DataNode [h, w, 3] of a window that may reach over the border of the picture, where it is zero.

    `start` and `shape`: int32 DataNodes of rows and columns. Done in two dimensions, rows of 3 * width numbers, where
    DALI pads twice as fast as in three.
    """
    from nvidia.dali import fn, types

    numbers = types.Constant(np.array([1, 3], np.int32))
    rows = fn.reshape(image, rel_shape=[1, -1], layout="HW")
    rows = fn.slice(rows, start=start * numbers, shape=shape * numbers, axis_names="HW", out_of_bounds_policy="pad")
    return fn.reshape(rows, shape=fn.cat(shape, types.Constant(np.array([3], np.int32))), layout="HWC")


def _margin(sides: np.ndarray, size: int) -> np.ndarray:
    """int32 [B, 2]: how far the triangle of the first output pixel, half as wide as a pixel there, reaches outside.

    0 where a side grows: the triangle is then one input pixel wide, and repeating the border changes nothing.
    """
    return np.where(sides > size, (sides + 2 * size - 1) // (2 * size), 0).astype(np.int32)


def _edge_gain(sides: np.ndarray, size: int) -> np.ndarray:
    """float64 [B, 2]: weights of the first output pixel's triangle, all over those inside the picture."""
    scale = np.maximum(sides / size, 1.0)[:, :, None]
    reach = int(np.ceil(scale.max() * 1.5)) + 1
    pixel = np.arange(-reach, reach + 1)
    weight = np.maximum(1 - np.abs(pixel + 0.5 - scale / 2) / scale, 0)
    inside = (pixel >= 0) & (pixel < sides[:, :, None])
    gain = weight.sum(axis=2) / (weight * inside).sum(axis=2)
    return np.where(sides > size, gain, 1.0)


def _ring(gain: np.ndarray, size: int) -> np.ndarray:
    """float32 [B, size]: 1, and `gain` [B] at both ends."""
    ring = np.ones((len(gain), size), np.float32)
    ring[:, 0] = ring[:, -1] = gain
    return ring
