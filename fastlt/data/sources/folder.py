"""Class sub-folders, perhaps below train, val and test: ROOT/[train/]CLASS/.../picture.jpg."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.errors import UserError

SPLITS = ("train", "val", "test")
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"
)  # fmt: skip


class Source:
    """The names of the training sub-folders, sorted, are the classes; pictures are found below them at any depth."""

    name = "folder"
    multi_label = False
    default_recipe = Recipe()

    def __init__(self, root: Path):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give one that holds a sub-folder of pictures for each class")
        self._split_level = (root / "train").is_dir()
        self._root = root
        self.splits = tuple(s for s in SPLITS if (root / s).is_dir()) if self._split_level else ("train",)
        self.default_val = 0.0 if "val" in self.splits else 0.1
        self.classes = _subfolders(self._folder("train"))
        if not self.classes:
            raise UserError(f"{self._folder('train')} has no sub-folder; it needs one of pictures for each class")
        for split in self.splits:
            for name in _subfolders(self._folder(split)):
                if name not in self.classes:
                    raise UserError(
                        f"{self._folder(split) / name} is a class that {self._folder('train')} does not have"
                    )

    def items(self, split: str) -> Iterator[Item]:
        folder = self._folder(split)
        for label, name in enumerate(self.classes):
            for path in _pictures(folder / name):
                yield Item(path.relative_to(folder).as_posix(), path, (label,))

    def describe(self) -> dict:
        return {"name": self.name, "splits": list(self.splits)}

    def _folder(self, split: str) -> Path:
        return self._root / split if self._split_level else self._root


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (Path(place, f) for f in sorted(files) if f.lower().endswith(EXTENSIONS) and not f.startswith("."))
