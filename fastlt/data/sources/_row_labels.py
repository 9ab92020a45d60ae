"""Labels that the rows of a table give: a value in each of some columns, or a list in one. Compact while it is read."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.errors import UserError

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
UNKNOWN, CONTRADICTED = -1, -2  # in place of a value's number

Report = Callable[[str], None]  # takes what a rule resolved, to follow the picture's name


class Values:
    """One value of each column for a picture. `single`: the one label, without which a picture is left out."""

    def __init__(self, columns: dict[str, int], missing: set[str], single: bool):
        self._columns, self._missing, self._single = columns, missing, single
        self._numbers: list[dict[str, int]] = [{} for _ in columns]  # of each column's values, as they appear
        self._codes = [array("i") for _ in columns]
        self._groups: list[tuple[int, ...]] = []

    def add(self, cells: list[str], report: Report) -> None:
        """The next picture."""
        for codes, code in zip(self._codes, self._read(cells), strict=True):
            codes.append(code)
            if self._single and code == UNKNOWN:
                report("has no label; it is left out unless another row gives one")

    def merge(self, row: int, cells: list[str], report: Report) -> None:
        """Another row of a picture: a value counts against a missing one, two values against each other."""
        for name, codes, code in zip(self._columns, self._codes, self._read(cells), strict=True):
            old = codes[row]
            if code == old or (code == UNKNOWN and old == CONTRADICTED):
                continue
            if UNKNOWN in (code, old):
                codes[row] = max(code, old)
                report(f"is listed again, once without {name!r}; the value that is known counts")
            else:
                codes[row] = CONTRADICTED
                fate = "the picture is left out" if self._single else "it becomes unknown"
                report(f"is listed again with another {name!r}; {fate}")

    def finish(self) -> tuple[list[str], dict[str, list[int]]]:
        """Classes, and those of each attribute. Raises UserError for a column without a value."""
        classes: list[str] = []
        for i, (name, values) in enumerate(zip(self._columns, self._numbers, strict=True)):
            codes, names = _renumbered(np.array(self._codes[i], np.int32), list(values))
            if not names:
                raise UserError(f"column {name!r} has no value for any picture that is there; name another column")
            self._codes[i] = np.where(codes >= 0, codes + len(classes), UNKNOWN).astype(np.int32)
            self._groups.append(tuple(range(len(classes), len(classes) + len(names))))
            classes += names if self._single else [f"{name}={value}" for value in names]
        if len(set(classes)) < len(classes):
            raise UserError("two attributes make the same class COLUMN=VALUE; rename one of their columns")
        groups = [] if self._single else zip(self._columns, self._groups, strict=True)
        return classes, {name: list(group) for name, group in groups}

    def kept(self) -> np.ndarray:
        """int64: rows of the pictures that are not left out."""
        codes = self._codes[0]
        return np.flatnonzero(codes >= 0) if self._single else np.arange(len(codes))

    def of(self, row: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positive and unknown classes."""
        labels, unknown = [], []
        for codes, group in zip(self._codes, self._groups, strict=True):
            if codes[row] >= 0:
                labels.append(int(codes[row]))
            else:
                unknown += group
        return tuple(labels), tuple(unknown)

    def positives(self, rows: np.ndarray) -> LabelRows:
        """Positive classes of the given rows, in their order."""
        table = np.stack(self._codes, 1)[rows]
        return _positives(table[table >= 0], (table >= 0).sum(1), sum(map(len, self._groups)))

    def _read(self, cells: list[str]) -> list[int]:
        codes = []
        for column, numbers in zip(self._columns.values(), self._numbers, strict=True):
            value = cells[column].strip()
            codes.append(UNKNOWN if value in self._missing else numbers.setdefault(value, len(numbers)))
        return codes


class Lists:
    """Any number of labels for a picture, from one column. A picture whose list is missing is left out."""

    def __init__(self, column: int, separator: str, missing: set[str]):
        self._column, self._separator, self._missing = column, separator, missing
        self._numbers: dict[str, int] = {}
        self._flat, self._start = array("i"), array("q", [0])
        self._known = bytearray()  # 1 for every picture whose list is there
        self._merged: dict[int, set[int]] = {}

    def add(self, cells: list[str], report: Report) -> None:
        """The next picture."""
        codes = self._read(cells)
        if codes is None:
            report("has no list of labels; it is left out unless another row gives one")
        self._flat.extend(sorted(codes or ()))
        self._start.append(len(self._flat))
        self._known.append(codes is not None)

    def merge(self, row: int, cells: list[str], report: Report) -> None:
        """Another row of a picture: every label of both counts."""
        old = self._merged.get(row, set(self._flat[self._start[row] : self._start[row + 1]]))
        codes = self._read(cells)
        if codes is None or not self._known[row]:
            if (codes is not None) != self._known[row]:
                report("is listed again, once without a list; the labels that are known count")
        elif codes != old:
            report("is listed again with other labels; all of them count")
        self._merged[row] = old | (codes or set())
        self._known[row] |= codes is not None

    def finish(self) -> tuple[list[str], dict[str, list[int]]]:
        """Classes; there are no attributes."""
        lists = (self._merged.get(row, self._flat[a:b]) for row, (a, b) in enumerate(_slices(self._start)))
        flat, start = array("i"), array("q", [0])
        for codes in lists:
            flat.extend(codes)
            start.append(len(flat))
        codes, classes = _renumbered(np.array(flat, np.int32), list(self._numbers))
        self._start, self._classes = np.array(start, np.int64), len(classes)
        row = np.repeat(np.arange(len(start) - 1), np.diff(self._start))
        self._flat = codes[np.lexsort((codes, row))]
        return classes, {}

    def kept(self) -> np.ndarray:
        """int64: rows of the pictures that are not left out."""
        return np.flatnonzero(np.frombuffer(self._known, np.uint8))

    def of(self, row: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positive and unknown classes."""
        return tuple(self._flat[self._start[row] : self._start[row + 1]].tolist()), ()

    def positives(self, rows: np.ndarray) -> LabelRows:
        """Positive classes of the given rows, in their order."""
        ones = np.ones(len(self._flat), np.int8)
        return LabelRows(self._start, self._flat, ones, self._classes).take(rows)

    def _read(self, cells: list[str]) -> set[int] | None:
        cell = cells[self._column].strip()
        if cell in self._missing:
            return None
        names = (name.strip() for name in cell.split(self._separator))
        return {self._numbers.setdefault(name, len(self._numbers)) for name in names if name}


def in_order(values: Iterable[str]) -> list[str]:
    """By number where all are whole numbers, else alphabetical."""
    values = sorted(values)
    return sorted(values, key=int) if all(map(WHOLE_NUMBER.fullmatch, values)) else values


def _renumbered(codes: np.ndarray, values: list[str]) -> tuple[np.ndarray, list[str]]:
    """Codes [n] by the order of the values that occur, and those values; negative codes stay."""
    names = in_order(values[code] for code in np.unique(codes[codes >= 0]))
    place = {name: i for i, name in enumerate(names)}
    places = np.array([place.get(value, UNKNOWN) for value in values] or [UNKNOWN], np.int32)
    return np.where(codes >= 0, places[np.maximum(codes, 0)], codes).astype(np.int32), names


def _positives(index: np.ndarray, lengths: np.ndarray, classes: int) -> LabelRows:
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return LabelRows(start, index.astype(np.int32), np.ones(len(index), np.int8), classes)


def _slices(start: array) -> Iterable[tuple[int, int]]:
    return zip(start, start[1:], strict=False)
