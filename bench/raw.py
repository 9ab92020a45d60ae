"""Small raw pictures to time with, such as CIFAR's: the same arrays in memory and in a shard set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fastlt.bench.photos import windows

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet

COUNT, SIDE, CLASSES = 4096, 32, 10


class Arrays:
    """Arrays as a source; class c is as long-tailed as CIFAR-10-LT, the first 100 times the last."""

    name, multi_label = "arrays", False
    splits, default_val, default_recipe = ("train",), 0.0, Recipe()

    def __init__(self, pictures: list[np.ndarray], classes: int = CLASSES) -> None:
        self.pictures, self.classes = pictures, [str(number) for number in range(classes)]
        share = np.cumsum(0.01 ** (np.arange(classes) / (classes - 1)))
        self.labels = np.searchsorted(share / share[-1], (np.arange(len(pictures)) + 0.5) / len(pictures))
        self.labels[:classes] = np.arange(classes)  # none has no picture

    def items(self, split: str) -> Iterator[Item]:
        rows = enumerate(zip(self.pictures, self.labels.tolist(), strict=True))
        return (Item(f"{number:06d}", picture, (label,)) for number, (picture, label) in rows)

    def describe(self) -> dict:
        return {"name": self.name}


@contextmanager
def raw_set(
    side: int = SIDE, count: int | None = None, classes: int = CLASSES
) -> Iterator[tuple[ShardSet, np.ndarray]]:
    """An open shard set of raw pictures, and the same as uint8 [count, side, side, 3]."""
    pictures = list(windows((side, side), count or COUNT))
    with TemporaryDirectory() as folder:
        build(Arrays(pictures, classes), Path(folder), val=0.0, workers=1)
        with ShardSet(Path(folder) / "train") as records:
            yield records, np.stack(pictures)
