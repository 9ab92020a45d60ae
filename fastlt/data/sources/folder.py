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
    """The names of the training sub-folders, sorted, are the classes; pictures are found below them at any depth.

    What begins with a dot is left out. Raises UserError for a link that leads out of the root.
    """

    name = "folder"
    multi_label = False
    default_recipe = Recipe()

    def __init__(self, root: Path):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give one that holds a sub-folder of pictures for each class")
        self._split_level = (root / "train").is_dir()
        self._root = root
        self.splits = tuple(s for s in SPLITS if (root / s).is_dir()) if self._split_level else ("train",)
        self.scanned = [root / s for s in SPLITS] if self._split_level else [root]
        self.default_val = 0.0 if "val" in self.splits else 0.1
        self.classes = _subfolders(self._folder("train"))
        if not self.classes:
            raise UserError(f"{self._folder('train')} has no sub-folder; it needs one of pictures for each class")
        for split in self.splits:
            for name in _subfolders(self._folder(split)):
                if name not in self.classes:
                    raise UserError(
                        f"{self._folder(split) / name} is a class that {self._folder('train')} does not have; "
                        "add training pictures of it or take it out"
                    )

    def items(self, split: str) -> Iterator[Item]:
        folder = self._folder(split)
        allowed = [self._root.resolve(), folder.resolve()]
        for label, name in enumerate(self.classes):
            for path in self._pictures(folder / name, allowed):
                yield Item(path.relative_to(folder).as_posix(), path, (label,))

    def describe(self) -> dict:
        return {"name": self.name, "splits": list(self.splits)}

    def _pictures(self, folder: Path, allowed: list[Path]) -> Iterator[Path]:
        """Those of the folder, then those of each folder in it."""
        waiting = [folder] if folder.is_dir() else []
        while waiting:
            folder = waiting.pop()
            _refuse_link_out(folder, allowed)
            entries = _entries(folder)
            for entry in entries:
                if not entry.is_dir() and entry.name.lower().endswith(EXTENSIONS):
                    if entry.is_symlink():
                        _refuse_link_out(folder / entry.name, allowed)
                    yield folder / entry.name
            waiting += [folder / entry.name for entry in reversed(entries) if entry.is_dir()]

    def _folder(self, split: str) -> Path:
        return self._root / split if self._split_level else self._root


def _subfolders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _refuse_link_out(path: Path, allowed: list[Path]) -> None:
    if not path.is_symlink():
        return
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(inside) for inside in allowed):
        raise UserError(f"{path} is a link that leads out of {allowed[0]}; put the pictures themselves there")
    if Path(os.path.realpath(path.parent)).is_relative_to(real):
        raise UserError(f"{path} is a link to a folder that it lies in; remove it")


def _entries(folder: Path) -> list[os.DirEntry]:
    """By name, without the hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}; mend it or take it out") from error
