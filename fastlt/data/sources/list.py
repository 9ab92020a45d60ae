"""Text lists of a folder's pictures, as ImageNet-LT, Places-LT and iNaturalist come: `relative/path.jpg label`."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._inside import Inside
from fastlt.data.sources._lines import distinct, file_lines, shown
from fastlt.data.sources._picture_list import PictureList
from fastlt.data.sources._repeats import digests, first_repeat
from fastlt.errors import UserError


class Source:
    """ROOT holds the pictures; `train`, `val` and `test` are list files, relative to it or absolute.

    classes: a file with the name of one class on each line. Without it a class is called like the folder that its
    training pictures share with no other class, or else by its number. A picture stands in one split, once; every
    label from 0 up to the largest has training pictures.
    """

    name = "list"
    multi_label = False
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        classes: str | None = None,
    ):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give the one that the paths in the lists start from")
        if train is None:
            raise UserError("source list needs the option train: the list file of the training pictures")
        files = {"train": train, "val": val, "test": test}
        self._root = root
        self._lists = {
            split: PictureList(_file(root, split, value)) for split, value in files.items() if value is not None
        }
        self.splits = tuple(self._lists)
        self.default_val = 0.0 if "val" in self._lists else 0.1
        self._check_labels()
        self._check_repeats()
        self.classes = self._class_names(None if classes is None else _file(root, "classes", classes))

    def items(self, split: str) -> Iterator[Item]:
        pictures, inside = self._lists[split], Inside(self._root)
        for row, label in enumerate(pictures.labels):
            name = pictures.name(row)
            yield Item(name, inside.path(name, pictures.place(row)), (int(label),))

    def describe(self) -> dict:
        lists = {split: {"list": p.path.name, "images": len(p)} for split, p in self._lists.items()}
        return {"name": self.name, "splits": lists}

    def _check_labels(self) -> None:
        train = self._lists["train"]
        found, rows = np.unique(train.labels, return_index=True)
        gaps = np.flatnonzero(found != np.arange(len(found)))
        if gaps.size:
            gap = int(gaps[0])
            raise UserError(
                f"{train.place(int(rows[gap]))} has the label {found[gap]} but no training picture has {gap}; "
                "labels count from 0 without a gap"
            )
        for split in self.splits[1:]:
            pictures = self._lists[split]
            beyond = np.flatnonzero(pictures.labels >= len(found))
            if beyond.size:
                raise UserError(
                    f"{pictures.place(int(beyond[0]))} has the label {pictures.labels[beyond[0]]}, which no training "
                    f"picture has; those of {train.path} are 0 to {len(found) - 1}"
                )

    def _check_repeats(self) -> None:
        lists = list(self._lists.values())
        first = np.cumsum([0] + [len(pictures) for pictures in lists])

        def at(position: int) -> tuple[PictureList, int]:
            which = int(np.searchsorted(first, position, side="right")) - 1
            return lists[which], position - int(first[which])

        names = itertools.chain.from_iterable(pictures.names() for pictures in lists)
        repeat = first_repeat(digests(names), lambda position: at(position)[0].name(at(position)[1]))
        if repeat:
            (earlier, row), (later, again) = at(repeat[0]), at(repeat[1])
            raise UserError(
                f"{later.place(again)} names the picture {shown(later.name(again))} of {earlier.place(row)} again; "
                "a picture stands in one split, once"
            )

    def _class_names(self, path: Path | None) -> list[str]:
        train = self._lists["train"]
        count = int(train.labels.max()) + 1
        if path is None:
            return _folder_names(train, count) or [str(c) for c in range(count)]
        names = distinct(file_lines(path), "class")
        if len(names) != count:
            raise UserError(f"{path} names {len(names)} classes, {train.path} has {count}; give one name a line")
        return names


def _file(root: Path, option: str, value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise UserError(f"option {option} is {value!r}; give the path of a file")
    return root / value


def _folder_names(train: PictureList, count: int) -> list[str] | None:
    """The last part of each class's own folder, or its path where last parts repeat; None if classes share folders."""
    folders: list[str | None] = [None] * count
    for name, label in zip(train.names(), train.labels.tolist(), strict=True):
        folder = posixpath.dirname(name)
        if folders[label] is None:
            folders[label] = folder
        elif folders[label] != folder:
            return None
    if len(set(folders)) < count or "" in folders:
        return None
    last = [posixpath.basename(folder) for folder in folders]
    shared = posixpath.commonpath(folders)
    return last if len(set(last)) == count else [posixpath.relpath(folder, shared or ".") for folder in folders]
