"""Crop windows: int32 [B, 4] of top, left, height, width in pixels, each inside its picture.

They are computed from the stored shapes (after EXIF orientation), before anything is decoded, so that only the window
need be decoded.
"""

from __future__ import annotations

import numpy as np

from fastlt.augmentation.draws import Draws

ATTEMPTS = 10


def whole(shapes: np.ndarray) -> np.ndarray:
    """All of each picture; shapes: [B, 2] of height and width."""
    return _join(np.zeros_like(shapes), shapes)


def centre_square(shapes: np.ndarray, share: float) -> np.ndarray:
    """The square in the middle whose side is `share` of the shorter side.

    Resized to `size` it shows what "resize the shorter side to size / share, then crop the centre" shows.
    """
    side = np.maximum(np.rint(share * shapes.min(axis=1)), 1)
    return _centred(shapes, np.stack([side, side], axis=1))


def random_resized(
    draws: Draws, shapes: np.ndarray, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    """A share of the area uniform in `scale` and a width / height log-uniform in `ratio`, anywhere in the picture.

    The law is that of torchvision's RandomResizedCrop (Szegedy et al., "Going deeper with convolutions", CVPR 2015):
    the first of 10 tries that fits inside, else the largest centred window whose ratio is within bounds.
    """
    area = shapes.prod(axis=1, dtype=np.float64)

    def propose(rows: np.ndarray, attempt: int) -> np.ndarray:
        some = draws.at(rows)
        target = area[rows] * some.uniform("window area", *scale, lane=attempt)
        aspect = np.exp(some.uniform("window ratio", *np.log(ratio), lane=attempt))
        return np.stack([np.rint(np.sqrt(target / aspect)), np.rint(np.sqrt(target * aspect))], axis=1)

    def fits(sides: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return ((sides >= 1) & (sides <= shapes[rows])).all(axis=1)

    return _placed(draws, shapes, *_first_fit(propose, fits, _ratio_bounded(shapes, ratio)))


def random_sides(draws: Draws, shapes: np.ndarray, shortest: float, ratio: tuple[float, float]) -> np.ndarray:
    """Each side times its own U(shortest, 1), with width / height inside `ratio`, anywhere in the picture.

    The first of 10 tries, else the whole picture (one so long that no try can be within `ratio`).
    """

    def propose(rows: np.ndarray, attempt: int) -> np.ndarray:
        some = draws.at(rows)
        shares = [some.uniform(f"window {side}", shortest, 1, lane=attempt) for side in ("height", "width")]
        return np.maximum(np.rint(shapes[rows] * np.stack(shares, axis=1)), 1)

    def fits(sides: np.ndarray, rows: np.ndarray) -> np.ndarray:
        aspect = sides[:, 1] / sides[:, 0]
        return (ratio[0] <= aspect) & (aspect <= ratio[1])

    return _placed(draws, shapes, *_first_fit(propose, fits, shapes))


def _first_fit(propose, fits, fallback: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B, 2] sides of the first proposal that fits, else of `fallback`; and bool [B], where one did fit."""
    sides, found = fallback.astype(np.float64), np.zeros(len(fallback), bool)
    for attempt in range(ATTEMPTS):
        rows = np.flatnonzero(~found)
        if not rows.size:
            break
        proposal = propose(rows, attempt)
        good = fits(proposal, rows)
        sides[rows[good]], found[rows[good]] = proposal[good], True
    return sides, found


def _placed(draws: Draws, shapes: np.ndarray, sides: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Windows at a random place, uniform over all that are inside; in the centre where no try did fit."""
    room = (shapes - sides).astype(np.int64) + 1
    start = np.stack([draws.integers("window top", room[:, 0]), draws.integers("window left", room[:, 1])], axis=1)
    return np.where(found[:, None], _join(start, sides), _centred(shapes, sides))


def _centred(shapes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    return _join((shapes - sides) // 2, sides)


def _ratio_bounded(shapes: np.ndarray, ratio: tuple[float, float]) -> np.ndarray:
    """[B, 2]: the largest sides inside the picture with width / height within `ratio`."""
    height, width = shapes.T.astype(np.float64)
    bounded = np.minimum(height, np.rint(width / ratio[0])), np.minimum(width, np.rint(height * ratio[1]))
    return np.maximum(np.stack(bounded, axis=1), 1)


def _join(start: np.ndarray, sides: np.ndarray) -> np.ndarray:
    return np.concatenate([start, sides], axis=1).astype(np.int32)
