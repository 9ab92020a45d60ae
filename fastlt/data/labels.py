"""Labels of many images as compressed rows: 9 million images with 9,600 classes fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Empty = Callable[[int, type], np.ndarray]  # of so many values of a type, like np.empty
BLOCK = 1 << 16  # rows, or entries, that are looked at together, so that little memory is needed beside the labels


@dataclass(frozen=True)
class LabelRows:
    """Row i holds the classes index[indptr[i]:indptr[i + 1]] with their values; any other class has `default`.

    Values: 1 positive, 0 negative, -1 unknown.
    """

    indptr: np.ndarray  # int64 [N + 1]
    index: np.ndarray  # int32 [nnz], ascending in a row
    value: np.ndarray  # int8 [nnz]
    classes: int
    default: int = 0

    @classmethod
    def from_lists(cls, rows: list[list[tuple[int, int]]], classes: int, default: int = 0) -> LabelRows:
        """From one list of (class, value) for each image."""
        flat = np.array([entry for row in rows for entry in row], np.int64).reshape(-1, 2)
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        return cls(indptr, flat[:, 0].astype(np.int32), flat[:, 1].astype(np.int8), classes, default)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def counts(self) -> np.ndarray:
        """int64 [C]: images in which each class is positive."""
        counts = np.zeros(self.classes, np.int64)
        for start in range(0, len(self.index), BLOCK):
            entries = slice(start, start + BLOCK)
            counts += np.bincount(self.index[entries][self.value[entries] == 1], minlength=self.classes)
        return counts

    def entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For the entries of the given rows [B]: which of the rows (int64 [n]), and where in `index` (int64 [n])."""
        start = self.indptr[rows]
        length = self.indptr[rows + 1] - start
        row = np.repeat(np.arange(len(rows)), length)
        within = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        return row, np.repeat(start, length) + within

    def take(self, rows: np.ndarray) -> LabelRows:
        """The given rows [B], in that order."""
        length = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        index, value = np.empty(indptr[-1], self.index.dtype), np.empty(indptr[-1], self.value.dtype)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            _, place = self.entries(some)
            entries = slice(indptr[start], indptr[start + len(some)])
            index[entries], value[entries] = self.index[place], self.value[place]
        return LabelRows(indptr, index, value, self.classes, self.default)

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """int8 [B, C] in {1, 0, -1}."""
        out = np.full((len(rows), self.classes), self.default, np.int8)
        row, place = self.entries(rows)
        out[row, self.index[place]] = self.value[place]
        return out

    def single(self, rows: np.ndarray) -> np.ndarray:
        """int64 [B]: the one class of each row of a single-label set."""
        return self.index[self.indptr[rows]].astype(np.int64)

    def members(self, empty: Empty = np.empty) -> tuple[np.ndarray, np.ndarray]:
        """For every class the rows in which it is positive, ascending: (indptr int64 [C + 1], rows [nnz]).

        Rows are int32 where they fit. `empty` makes room for the result; little more memory is taken than that.
        """
        indptr = empty(self.classes + 1, np.int64)
        indptr[0] = 0
        np.cumsum(self.counts(), out=indptr[1:])
        rows = empty(int(indptr[-1]), np.int32 if len(self) < 1 << 31 else np.int64)
        free = indptr[:-1].copy()
        for start in range(0, len(self.index), BLOCK):
            positive = np.flatnonzero(self.value[start : start + BLOCK] == 1)
            classes = self.index[start : start + BLOCK][positive]
            if self.classes <= 1 << 16:
                classes = classes.astype(np.uint16)  # numpy radix-sorts 16-bit integers
            order = np.argsort(classes, kind="stable")
            classes, found = classes[order], np.bincount(classes, minlength=self.classes)
            within = np.arange(len(classes)) - (np.cumsum(found) - found)[classes]
            rows[free[classes] + within] = self._rows_of(start)[positive][order]
            free += found
        return indptr, rows

    def _rows_of(self, start: int) -> np.ndarray:
        """The row of each entry of the block from `start` on."""
        stop = min(start + BLOCK, len(self.index))
        first = int(np.searchsorted(self.indptr, start, side="right")) - 1
        last = int(np.searchsorted(self.indptr, stop, side="left"))
        bounds = np.clip(self.indptr[first : last + 1], start, stop)
        return np.repeat(np.arange(first, last), np.diff(bounds))
