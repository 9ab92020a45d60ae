"""Open Images V4 to V7 (Kuznetsova et al., IJCV 2020): image-level labels that people verified, all others unknown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._lines import shown
from fastlt.data.sources._problems import Problems
from fastlt.data.sources._tables import read_rows
from fastlt.data.sources._verified_labels import Images, read_verified, resolve
from fastlt.errors import UserError

OFFICIAL = {
    "train": ("oidv7-train-annotations-human-imagelabels.csv", "oidv6-train-annotations-human-imagelabels.csv",
              "train-annotations-human-imagelabels.csv"),
    "val": ("oidv7-val-annotations-human-imagelabels.csv", "validation-annotations-human-imagelabels.csv"),
    "test": ("oidv7-test-annotations-human-imagelabels.csv", "test-annotations-human-imagelabels.csv"),
    "classes": ("oidv7-classes-trainable.txt", "oidv6-classes-trainable.txt", "classes-trainable.txt"),
    "descriptions": ("oidv7-class-descriptions.csv", "oidv6-class-descriptions.csv", "class-descriptions.csv"),
}  # fmt: skip
SPLITS = ("train", "val", "test")


class Source:
    """Labels with Confidence 1 are positive, with 0 negative; what nobody verified is unknown.

    train, val, test: label tables (columns ImageID, LabelName, Confidence), relative to root; default the official
    names, those of the newest version first. classes: a file with one LabelName a line that picks the classes and
    their order; labels of other classes are skipped and counted. descriptions: LabelName and DisplayName; gives the
    classes where there is no `classes`. images: folder of a split's pictures IMAGEID.jpg, "{split}" stands for train,
    val (or validation, where there is no val) and test.

    An image's class that is verified both ways is positive. Items are sorted by id; a missing picture is found when
    it is read. Raises UserError for a table that is none of Open Images, for a missing folder of pictures, and for a
    picture that is a link out of root and out of its folder.
    """

    name = "openimages"
    multi_label = True
    label_default = -1
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        classes: str | None = None,
        descriptions: str | None = None,
        images: str = "{split}",
    ):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give the one that holds the label tables of Open Images")
        self._root = root
        self.problems = Problems()
        labels, self.classes = self._class_list(
            _file(root, "classes", classes), _file(root, "descriptions", descriptions)
        )
        number = {label: i for i, label in enumerate(labels)}
        tables = {split: _file(root, split, given) for split, given in zip(SPLITS, (train, val, test), strict=True)}
        if tables["train"] is None:
            raise UserError(f"{root} has no {OFFICIAL['train'][1]}; name the table of training labels as option train")
        self.splits = tuple(split for split in SPLITS if tables[split] is not None)
        self.default_val = 0.0 if "val" in self.splits else 0.1
        self._folders = {split: _picture_folder(root, images, split) for split in self.splits}
        self._images = {split: self._read(tables[split], number) for split in self.splits}
        for split in self.splits:
            _refuse_links_out(self._folders[split], root, self._images[split].ids)

    def items(self, split: str) -> Iterator[Item]:
        images, folder = self._images[split], self._folders[split]
        for row, id in enumerate(images.ids):
            id = id.decode()
            positive, negative = images.positive.of(row), images.negative.of(row)
            yield Item(id, folder / f"{id}.jpg", positive, negative=negative)

    def describe(self) -> dict:
        return {"name": self.name, "images": {split: len(images.ids) for split, images in self._images.items()}}

    def _class_list(self, classes: Path | None, descriptions: Path | None) -> tuple[list[str], list[str]]:
        """Label and name of every class."""
        if classes is None and descriptions is None:
            raise UserError(f"{self._root} has no {OFFICIAL['descriptions'][1]}; name it as option descriptions")
        names = _descriptions(descriptions) if descriptions else {}
        labels = _trainable(classes) if classes else list(names)
        if not labels:
            raise UserError(f"{classes or descriptions} lists no class; fetch it again")
        nameless = sum(label not in names for label in labels) if descriptions else 0
        if nameless:
            self.problems.append(
                (classes.name, f"{nameless} classes have no name in {descriptions.name}; their label is their name")
            )
        return labels, _unique_names(labels, names)

    def _read(self, path: Path, number: dict[str, int]) -> Images:
        rows = read_verified(path, number)
        if not len(rows.codes):
            raise UserError(
                f"{path} labels no image with one of the {len(number)} classes; give the tables of one version"
            )
        if rows.skipped:
            self.problems.append((path.name, f"{rows.skipped} labels of classes outside the class list were skipped"))

        def contradicted(image: int, label: int) -> None:
            place = f"{path.name} image {rows.ids[image].decode()}"
            self.problems.append((place, f"{self.classes[label]!r} is both positive and negative; positive wins"))

        images = resolve(rows, len(number), contradicted)
        unlabelled = np.count_nonzero((np.diff(images.positive.start) == 0) & (np.diff(images.negative.start) == 0))
        if unlabelled:
            self.problems.append((path.name, f"{unlabelled} images have no label of the class list: all is unknown"))
        return images


def _file(root: Path, what: str, given: str | None) -> Path | None:
    """The file that the user names, or the first official one that is there."""
    if given is not None:
        return root / str(given)
    return next((root / name for name in OFFICIAL[what] if (root / name).is_file()), None)


def _descriptions(path: Path) -> dict[str, str]:
    """Display name by label; the older files have no header."""
    names: dict[str, str] = {}
    for line, cells in read_rows(path):
        if cells == ["LabelName", "DisplayName"]:
            continue
        if len(cells) != 2 or not cells[0]:
            raise UserError(f"{path} line {line} is not a LabelName and a DisplayName; fetch the file again")
        if cells[0] in names:
            raise UserError(f"{path} line {line} describes {shown(cells[0])} once more; take one of the two out")
        names[cells[0]] = cells[1].strip()
    return names


def _trainable(path: Path) -> list[str]:
    labels: dict[str, None] = {}
    for line, cells in read_rows(path):
        label = cells[0].strip()
        if len(cells) != 1 or not label or label in labels:
            raise UserError(
                f"{path} line {line} must be one LabelName that no other line has, not {shown(','.join(cells))}"
            )
        labels[label] = None
    return list(labels)


def _unique_names(labels: list[str], names: dict[str, str]) -> list[str]:
    """Display names; with the label behind them where several classes share one."""
    shown = [names.get(label) or label for label in labels]
    count: dict[str, int] = {}
    for name in shown:
        count[name] = count.get(name, 0) + 1
    return [name if count[name] == 1 else f"{name} ({label})" for label, name in zip(labels, shown, strict=True)]


def _picture_folder(root: Path, pattern: str, split: str) -> Path:
    folders = [
        root / str(pattern).replace("{split}", name) for name in ([split, "validation"] if split == "val" else [split])
    ]
    for folder in folders:
        if os.path.isdir(folder):
            return folder
    raise UserError(
        f"{folders[0]} is no folder; put the pictures of {split} there or name their folder as option images"
    )


def _refuse_links_out(folder: Path, root: Path, ids: np.ndarray) -> None:
    """One listing of the folder tells which pictures are links, without a look at each of millions of files."""
    allowed = (root.resolve(), folder.resolve())
    with os.scandir(folder) as entries:
        links = [entry.name for entry in entries if entry.name.endswith(".jpg") and entry.is_symlink()]
    for name in sorted(links):
        id = name.removesuffix(".jpg").encode("utf-8", "surrogateescape")
        place = int(np.searchsorted(ids, id))
        named = place < len(ids) and ids[place] == id
        target = Path(os.path.realpath(folder / name))
        if named and not any(target.is_relative_to(inside) for inside in allowed):
            raise UserError(f"{folder / name} is a link that leads out of {root}; put the picture itself there")
