"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in the python version: batches of pickled arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources import _pickles
from fastlt.data.sources._archive import read_files, require
from fastlt.errors import UserError


class Cifar:
    """A folder, .tar.gz or .tar.xz of the python version; the pictures are raw uint8 [32, 32, 3]."""

    multi_label = False
    splits = ("train", "test")
    default_val = 0.0  # the published long-tailed sets use every training image
    default_recipe = Recipe("exponential", 100)
    name: str
    batches: dict[str, list[str]]  # files of each split
    meta: tuple[str, str]  # file and key of the class names
    label_key: str

    def __init__(self, root: Path):
        wanted = {name for names in self.batches.values() for name in names} | {self.meta[0]}
        files = read_files(root, wanted.__contains__)
        require(files, sorted(wanted), root, self.name)
        self.classes = [n.decode() for n in _pickles.load(files[self.meta[0]], f"{root}: {self.meta[0]}")[self.meta[1]]]
        self._pixels = {name: self._read(files.pop(name), f"{root}: {name}") for name in wanted - {self.meta[0]}}

    def items(self, split: str) -> Iterator[Item]:
        for name in self.batches[split]:
            pixels, labels = self._pixels[name]
            for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                yield Item(f"{name}/{row:05d}", image, (label,))

    def describe(self) -> dict:
        return {"name": self.name, "images": {s: sum(map(self._size, names)) for s, names in self.batches.items()}}

    def _size(self, batch: str) -> int:
        return len(self._pixels[batch][1])

    def _read(self, data: bytes, place: str) -> tuple[np.ndarray, list[int]]:
        batch = _pickles.load(data, place)
        pixels, labels = batch.get("data"), batch.get(self.label_key)
        plain = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and isinstance(labels, list)
        if not plain or pixels.shape != (len(labels), 3072):
            raise UserError(f"{place} holds no pictures of {self.name}: uint8 [n, 3072] and n {self.label_key}")
        if not all(isinstance(label, int) and 0 <= label < len(self.classes) for label in labels):
            raise UserError(f"{place} has a label outside 0..{len(self.classes) - 1}; fetch it again")
        return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
