"""Delimited text files, read row by row."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from fastlt.errors import UserError

DELIMITERS = ",;\t"


def read_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Line number (of its last line) and cells of every row that is not blank; one row is held at a time.

    Raises UserError if the file is missing, is not UTF-8 (a byte order mark is allowed) or breaks the quoting, and
    with its line number for a row that has not as many cells as the first.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file; name the table in the source's options")
    reader, expected = None, 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if not cells:
                    continue
                expected = expected or len(cells)
                if len(cells) != expected:
                    raise UserError(
                        f"{path} line {reader.line_num} has {len(cells)} cells, its first row {expected}; correct it"
                    )
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        read = reader.line_num if reader else 0
        raise UserError(f"{path} is not UTF-8 text (after line {read}: {error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is no row of a table ({error}); correct it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


class Table:
    """A table whose first row names its columns; of several delimiters the one that makes most columns is taken."""

    def __init__(self, path: Path, delimiters: str = DELIMITERS):
        self.path = path
        self._delimiter = max(delimiters, key=lambda delimiter: _width(path, delimiter))
        _, header = next(read_rows(path, self._delimiter), (0, []))
        self.columns = [cell.strip() for cell in header]
        if not self.columns:
            raise UserError(f"{path} is empty; its first row must name the columns")

    def column(self, name: str) -> int:
        """Where the column stands. Raises UserError if it is absent or there are several of that name."""
        found = self.columns.count(name)
        if found != 1:
            known = ", ".join(repr(column) for column in self.columns[:20]) + (" ..." if len(self.columns) > 20 else "")
            raise UserError(f"{self.path} has {found or 'no'} columns named {name!r}; name one of {known}")
        return self.columns.index(name)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """As read_rows, without the first row."""
        rows = read_rows(self.path, self._delimiter)
        next(rows, None)
        return rows


def _width(path: Path, delimiter: str) -> int:
    """Cells of the first row; 0 if this delimiter breaks its quoting."""
    try:
        return len(next(read_rows(path, delimiter), (0, []))[1])
    except UserError as error:
        if isinstance(error.__cause__, csv.Error):
            return 0
        raise
