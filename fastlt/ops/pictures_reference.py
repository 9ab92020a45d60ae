"""What `pictures_to_batch` computes, in numpy and float64: the truth that the tests hold it to."""

from __future__ import annotations

import numpy as np


def weights(source: int, size: int) -> np.ndarray:
    """float64 [size, source]: how Pillow's BILINEAR weighs the source pixels of each output pixel."""
    step = source / size
    reach = max(step, 1.0)
    centre = (np.arange(size)[:, None] + 0.5) * step
    triangle = np.maximum(reach - np.abs(np.arange(source) + 0.5 - centre), 0)
    return triangle / triangle.sum(axis=1, keepdims=True)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 [height, width, 3] of [h, w, 3]."""
    rows, columns = weights(picture.shape[0], height), weights(picture.shape[1], width)
    return np.einsum("yi,ijc,xj->yxc", rows, picture.astype(np.float64), columns, optimize=True)


def moved(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """[H, W, 3]: pixel (y, x) is what was at (y + top, x + left), or 0."""
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    y, x = np.arange(height) + top, np.arange(width) + left
    rows, columns = (y >= 0) & (y < height), (x >= 0) & (x < width)
    result[np.ix_(rows, columns)] = image[np.ix_(y[rows], x[columns])]
    return result


def shown(
    picture: np.ndarray,
    window: tuple[int, int, int, int],
    height: int,
    width: int,
    offset: tuple[int, int] = (0, 0),
    mirrored: bool = False,
    upside_down: bool = False,
    matrix: np.ndarray | None = None,
    color_shift: np.ndarray | None = None,
    erased: tuple[int, int, int, int] = (0, 0, 0, 0),
    scale: tuple[float, ...] = (1.0, 1.0, 1.0),
    shift: tuple[float, ...] = (0.0, 0.0, 0.0),
    whole: bool = False,
) -> np.ndarray:
    """float64 [height, width, 3] of one picture; `whole`: a batch of uint8."""
    top, left, high, wide = window
    image = moved(resized(picture[top : top + high, left : left + wide], height, width), *offset)
    image = image[::-1] if upside_down else image
    image = image[:, ::-1] if mirrored else image
    if matrix is not None:
        image = image @ np.asarray(matrix, np.float64).T + color_shift
    if matrix is not None or whole:
        image = np.clip(np.rint(image), 0, 255)
    image = image * scale + shift
    image[erased[0] : erased[0] + erased[2], erased[1] : erased[1] + erased[3]] = 0
    return image
