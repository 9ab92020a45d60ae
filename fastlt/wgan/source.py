"""Pictures that networks make of the training images of a data set, as a source for the builder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from fastlt.address import Address
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._stored_item import StoredItem
from fastlt.data.sources.shards import Source as ShardsSource
from fastlt.errors import UserError
from fastlt.files import write_atomically
from fastlt.hashing import key
from fastlt.wgan.pictures import kept_pictures, png, real_picture
from fastlt.wgan.settings import SAVED, Settings

MARK = "#wgan-"  # between the id of the image and the iteration that made a picture of it
Make = Callable[[np.ndarray, list[int], Callable[[int], object]], np.ndarray]


class Source:
    """Three pictures of each training image of ROOT, with its labels; their ids are IMAGE#wgan-ITERATION.

    below: only of images with a class of fewer training images. In a set of one label an image the classes are those
    of these images. make: from real pictures (float32 [G, 3, H, W] in [-1, 1]), a seed each, and a function that is
    told of iterations, to float32 [3, G, 3, H, W]: what was made of them.

    Networks are trained when the first picture of their group of `at_once` images is asked for. All pictures of a
    group are then kept as files in `beside`/made-SUM, the sum being of all that decides them, until `clear`, so that
    a build that was killed trains no finished group again.
    """

    name = "ml-wgan"
    splits = ("train",)
    default_val = 0.0
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path | Address,
        beside: Path,
        settings: Settings,
        below: int | None,
        at_once: int,
        device: str,
        make: Make,
    ):
        self._origin, self._root, self._settings, self._below = ShardsSource(root), root, settings, below
        self._at_once, self._device, self._make = at_once, device, make
        self.multi_label, self.label_default = self._origin.multi_label, self._origin.label_default
        self.attributes = self._origin.attributes
        self._images = self._choose()
        shown = (
            range(len(self._origin.classes)) if self.multi_label else {c for item in self._images for c in item.labels}
        )
        self._place = {c: place for place, c in enumerate(sorted(shown))}
        self.classes = [self._origin.classes[c] for c in self._place]
        sum_ = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()
        self._beside, self._files = beside, beside / f"made-{sum_[:16]}"
        self.tick: Callable[[int, int], object] = lambda done, total: None  # of iterations of all groups

    def items(self, split: str) -> Iterator[Item]:
        for number, item in enumerate(self._images):
            labels = tuple(self._place[c] for c in item.labels)
            for kept, iteration in enumerate(range(self._settings.iterations)[-SAVED:]):
                picture = partial(self._picture, number, kept)
                yield StoredItem(f"{item.id}{MARK}{iteration}", picture, labels, item.unknown, item.negative)

    def describe(self) -> dict:
        how = {"below": self._below, "at_once": self._at_once, "device": self._device, **asdict(self._settings)}
        return {"name": self.name, "of": self._origin.describe(), **how}

    @property
    def images(self) -> int:
        """How many images networks are trained for."""
        return len(self._images)

    def clear(self) -> None:
        """Removes the files of all groups, of earlier settings too."""
        for folder in self._beside.glob("made-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _choose(self) -> list[Item]:
        if self._below is None:
            return list(self._origin.items("train"))
        counts = Counter(c for item in self._origin.items("train") for c in item.labels)
        rare = {c for c, count in counts.items() if count < self._below}
        chosen = [item for item in self._origin.items("train") if not rare.isdisjoint(item.labels)]
        if not chosen:
            raise UserError(f"{self._root} has no class of 1 to {self._below - 1} training images; raise --below")
        return chosen

    def _picture(self, number: int, kept: int) -> Path:
        """The file of one of the three pictures of an image; makes those of its whole group if it is not there."""
        file = self._file(number, kept)
        if not file.exists():
            self._make_group(number // self._at_once * self._at_once)
        return file

    def _file(self, number: int, kept: int) -> Path:
        return self._files / f"{number:08d}-{kept}.png"

    def _make_group(self, first: int) -> None:
        images = self._images[first : first + self._at_once]
        real = np.stack([self._real(item) for item in images])
        seeds = [key(self.name, self._settings.seed, item.id) for item in images]
        iterations = self._settings.iterations
        before, total = first // self._at_once * iterations, -(-len(self._images) // self._at_once) * iterations
        made = self._make(real, seeds, lambda done: self.tick(before + done, total))
        for item, own in zip(images, made.swapaxes(0, 1), strict=True):
            if not np.isfinite(own).all():
                raise UserError(f"the networks of {item.id} made numbers without end instead of a picture; try --seed")
        for number, own in enumerate(made.swapaxes(0, 1), first):
            for kept, pixels in enumerate(kept_pictures(own)):
                data = png(pixels)
                write_atomically(self._file(number, kept), lambda file, data=data: file.write(data))

    def _real(self, item: Item) -> np.ndarray:
        image = item.image
        try:
            return real_picture(image, self._settings)
        except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
            reason = " ".join(str(error).split())
            raise UserError(f"{self._root}: picture {item.id} cannot be decoded ({reason}); build it again") from error
