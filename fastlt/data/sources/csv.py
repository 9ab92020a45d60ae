"""Pictures that a table describes: one label, several attributes or a list of labels in each row."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._inside import Inside
from fastlt.data.sources._lines import shown
from fastlt.data.sources._problems import Problems
from fastlt.data.sources._row_labels import Lists, Report, Values
from fastlt.data.sources._tables import Table
from fastlt.data.splits import carve
from fastlt.errors import UserError
from fastlt.hashing import key

SPLITS = ("train", "val", "test")


class Source:
    """A table whose header names its columns; comma, semicolon or tab between cells, whichever the header shows.

    file: the table, relative to root; default the only .csv in root. path: the column of the picture's path relative
    to root; default the first. Exactly one of: label, the column of the one label; attributes, columns of which each
    is a group of classes COLUMN=VALUE (a list, or names with commas between); labels, a column that holds a list of
    labels with `separator` between. missing: cells that say that an attribute is unknown, beside the empty one; its
    whole group is then unknown in that picture. split: a column that says train, val or test; without it 80/10/10 by
    split_seed, stratified, from the set of pictures and not from their order.

    Classes are in numeric order where all values are whole numbers, else alphabetical. Left out, and listed in
    `problems`: rows whose picture is missing, pictures without a label (label) or whose list is missing (labels).
    Rows of the same picture are merged; where they disagree (listed too), label: the picture is left out; attributes:
    that attribute is unknown; labels: all of them count; and a known value counts against a missing one. Raises
    UserError for a malformed table, a path out of root and a picture in two splits.
    """

    name = "csv"
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path,
        file: str | None = None,
        path: str | None = None,
        label: str | None = None,
        attributes: str | list[str] | None = None,
        labels: str | None = None,
        separator: str = "|",
        missing: str | list[str] | None = "#N/A",
        split: str | None = None,
        split_seed: int = 1337,
    ):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give the one that holds the pictures")
        if not isinstance(split_seed, int):
            raise UserError(f"csv takes a whole number as split_seed, not {split_seed!r}")
        table = Table(root / _name("file", file) if file is not None else _only_table(root))
        markers = {""} | set(_names("missing", "#N/A" if missing is None else missing))  # to YAML, #N/A is a comment
        separator = _name("separator", separator or "|")  # to YAML, a bare | begins an empty text
        self._labels = _label_reader(table, label, attributes, labels, separator, markers)
        self.multi_label = label is None
        self.problems = Problems()
        path_at = 0 if path is None else table.column(_name("path", path))
        self._path_column = table.columns[path_at]
        split_at = None if split is None else table.column(_name("split", split))
        self._ids, splits = self._read(table, root, path_at, split_at)
        self.classes, self.attributes = self._labels.finish()
        kept = self._labels.kept()
        if not self.classes or not len(kept):
            raise UserError(f"{table.path} gives no picture a label; name the column that holds them")
        if split_at is None:
            splits[kept] = self._draw(kept, split_seed)
        self._rows = {name: kept[splits[kept] == code] for code, name in enumerate(SPLITS)}
        self.splits = tuple(name for name in SPLITS if len(self._rows[name]))
        if "train" not in self.splits:
            raise UserError(f"{table.path} has no picture for training; its column {split!r} must say train for some")
        self.default_val = 0.0 if split_at is None or "val" in self.splits else 0.1
        self._root, self._seed = root, split_seed if split_at is None else None

    def items(self, split: str) -> Iterator[Item]:
        for row in self._rows[split].tolist():
            labels, unknown = self._labels.of(row)
            yield Item(self._ids[row], self._root / self._ids[row], labels, unknown)

    def describe(self) -> dict:
        images = {split: len(self._rows[split]) for split in self.splits}
        return {"name": self.name, "path_column": self._path_column, "split_seed": self._seed, "images": images}

    def _read(self, table: Table, root: Path, path_at: int, split_at: int | None) -> tuple[list[str], np.ndarray]:
        """Paths of all pictures and their splits, int8 [N]; their labels go to self._labels."""
        inside, number, splits = Inside(root), {}, array("b")
        for line, cells in table.rows():
            place = f"{table.path} line {line}"
            picture = inside.path(cells[path_at], place)
            id = PurePosixPath(cells[path_at]).as_posix()
            split = 0 if split_at is None else _split_code(cells[split_at], place)
            row = number.get(id)
            report = self._reporter(f"{table.path.name} line {line}", id)
            if row is not None:
                if splits[row] != split:
                    raise UserError(
                        f"{place} puts {shown(id)} into {SPLITS[split]}, an earlier one into {SPLITS[splits[row]]}"
                    )
                self._labels.merge(row, cells, report)
            elif not os.path.isfile(picture):
                report("is no file; the row is left out")
            else:
                number[id] = len(splits)
                splits.append(split)
                self._labels.add(cells, report)
        if not number:
            raise UserError(
                f"{table.path} names no picture that is below {root}; give the folder that its paths start from"
            )
        return list(number), np.array(splits, np.int8)

    def _reporter(self, place: str, id: str) -> Report:
        return lambda what: self.problems.append((place, f"{shown(id)} {what}"))

    def _draw(self, kept: np.ndarray, seed: int) -> np.ndarray:
        """int8 [len(kept)]: a split for each picture; the last one of a class stays in training."""
        order = np.array(sorted(range(len(kept)), key=lambda place: self._ids[kept[place]]), np.int64)
        labels = self._labels.positives(kept[order])
        splits = np.zeros(len(kept), np.int8)
        test = carve(labels, 0.1, key("csv test", seed))
        rest = np.setdiff1d(np.arange(len(kept)), test, assume_unique=True)
        val = rest[carve(labels.take(rest), 1 / 9, key("csv val", seed))]
        splits[order[test]], splits[order[val]] = SPLITS.index("test"), SPLITS.index("val")
        return splits


def _label_reader(table: Table, label, attributes, labels, separator: str, markers: set[str]) -> Values | Lists:
    if sum(given is not None for given in (label, attributes, labels)) != 1:
        raise UserError("source csv needs exactly one of the options label, attributes and labels")
    if labels is not None:
        return Lists(table.column(_name("labels", labels)), separator, markers - {""})
    names = _names("attributes", attributes) if label is None else [_name("label", label)]
    return Values({name: table.column(name) for name in names}, markers, single=label is not None)


def _only_table(root: Path) -> Path:
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables[:5]) or "none"
        raise UserError(f"{root} must hold one .csv file and holds {found}; name the table as option file")
    return tables[0]


def _split_code(cell: str, place: str) -> int:
    try:
        return SPLITS.index(cell.strip().lower())
    except ValueError:
        raise UserError(f"{place} has the split {shown(cell)}; write train, val or test") from None


def _name(option: str, given: object) -> str:
    """A column may be called 3, which the command line reads as a number."""
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise UserError(f"csv takes one name as {option}, not {given!r}")
    return str(given)


def _names(option: str, given: object) -> list[str]:
    """From a list, or from a text with commas between."""
    parts = given if isinstance(given, (list, tuple)) else _name(option, given).split(",")
    names = [_name(option, part).strip() for part in parts]
    if len(set(names)) < len(names):
        raise UserError(f"csv has a name twice in {option}; name each once")
    return names
