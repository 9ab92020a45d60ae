"""Scikit-learn's bundled handwritten digits (UCI, 1,797 pictures) as real PNG files; needs no download."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.errors import UserError
from fastlt.hashing import bits, integers, key, permute, shuffled, uniform

TEST_SHARE = 0.25  # of the digits of every class; no pixel of theirs is seen in training
SCENES = {"train": 2000, "test": 500}
SCENE_TAIL = 0.6  # in training scenes digit d is drawn SCENE_TAIL times as often as digit d - 1
COMPANION = 0.5  # chance that a further digit of a training scene is the one below the digit before it


class Source:
    """form="single": one digit, 32 x 32, one label. form="scenes": 64 x 64 with 1 to 4 digits, several labels.

    Digits of a training scene are drawn long-tailed and bring companions, so that labels co-occur as they do in
    photographs; test scenes draw every digit equally often. A pure function of `seed`.
    """

    name = "digits"
    splits = ("train", "test")
    default_val = 0.1

    def __init__(self, form: str = "single", seed: int = 0):
        if form not in ("single", "scenes"):
            raise UserError(f"digits has no form {form!r}; choose single or scenes")
        if not isinstance(seed, int):
            raise UserError(f"digits takes a whole number as seed, not {seed!r}")
        self.multi_label = form == "scenes"
        self.default_recipe = Recipe() if self.multi_label else Recipe("exponential", 25)
        self.classes = [str(digit) for digit in range(10)]
        self._form, self._seed = form, seed
        self._pictures: dict[str, list[bytes]] = {}  # of the scenes, which are worth drawing once only

    def items(self, split: str) -> Iterator[Item]:
        return self._scenes(split) if self.multi_label else self._singles(split)

    def describe(self) -> dict:
        return {"name": self.name, "form": self._form, "seed": self._seed}

    @cached_property
    def _split_rows(self) -> dict[str, list[np.ndarray]]:
        """Rows of scikit-learn's table for each split and digit."""
        target = _table()[1]
        rows: dict[str, list[np.ndarray]] = {"train": [], "test": []}
        for digit in range(10):
            own = np.flatnonzero(target == digit)
            own = own[shuffled(key("digits", "split", self._seed, digit), len(own))]
            test = round(len(own) * TEST_SHARE)
            rows["test"].append(np.sort(own[:test]))
            rows["train"].append(np.sort(own[test:]))
        return rows

    def _singles(self, split: str) -> Iterator[Item]:
        for digit, rows in enumerate(self._split_rows[split]):
            for row in rows.tolist():
                yield Item(f"{digit}/{row:04d}.png", _png(_picture(row, 32)), (digit,))

    def _scenes(self, split: str) -> Iterator[Item]:
        digits, pictures = self._scene_digits(split), self._scene_pictures(split)
        for number, own in enumerate(digits):
            labels = sorted(set(own[own >= 0].tolist()))
            yield Item(f"{split}/{number:05d}.png", pictures[number], tuple(labels))

    def _scene_digits(self, split: str) -> np.ndarray:
        """int64 [scenes, 4]: the digits of every scene, -1 where it has fewer than four."""
        scene, number = key("digits", "scene", self._seed, split), np.arange(SCENES[split])
        chance = SCENE_TAIL ** np.arange(10) if split == "train" else np.ones(10)
        edges = np.cumsum(chance / chance.sum())[:-1]
        digits = np.stack([np.searchsorted(edges, uniform(scene, number, lane), side="right") for lane in range(4)], 1)
        for i in range(1, 4) if split == "train" else ():
            follows = uniform(scene, number, lane=3 + i) < COMPANION
            digits[:, i] = np.where(follows, np.maximum(digits[:, i - 1] - 1, 0), digits[:, i])
        return np.where(np.arange(4) <= integers(scene, number, 4, lane=7)[:, None], digits, -1)

    def _scene_pictures(self, split: str) -> list[bytes]:
        """A 64 x 64 PNG for every scene: its digits in cells of a 2 x 2 grid, each of its own size and place there."""
        if split not in self._pictures:
            digits, layout = self._scene_digits(split), key("digits", "layout", self._seed, split)
            place = np.arange(digits.size).reshape(digits.shape)
            pool = np.array([len(rows) for rows in self._split_rows[split]])
            chosen = integers(layout, place, pool[digits], lane=0)
            side = 22 + integers(layout, place, 11, lane=1)
            top, left = (integers(layout, place, 33 - side, lane=lane) for lane in (2, 3))
            cell = permute(bits(layout, np.arange(len(digits))[:, None], lane=4), np.arange(4), 4)
            top, left = top + 32 * (cell // 2), left + 32 * (cell % 2)
            columns = np.stack([digits, chosen, side, top, left], axis=2).tolist()
            self._pictures[split] = [_png(self._scene(split, scene)) for scene in columns]
        return self._pictures[split]

    def _scene(self, split: str, digits: list[list[int]]) -> np.ndarray:
        """uint8 [64, 64] with each (digit, which of its pictures, side, top, left) drawn in."""
        canvas = np.zeros((64, 64), np.uint8)
        for digit, chosen, side, top, left in digits:
            if digit >= 0:
                row = int(self._split_rows[split][digit][chosen])
                canvas[top : top + side, left : left + side] = _picture(row, side)
        return canvas


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [1797, 8, 8] in 0..255 and the digits, int [1797]."""
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    return np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), target


def _picture(row: int, side: int) -> np.ndarray:
    """uint8 [side, side]: one digit, enlarged."""
    return np.asarray(Image.fromarray(_table()[0][row]).resize((side, side), Image.Resampling.BICUBIC))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
