"""A text list of pictures and their labels, kept in arrays: half a million lines take some 40 MB."""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlt.data.sources._inside import check_name
from fastlt.data.sources._lines import file_lines, shown
from fastlt.errors import UserError

_DIGITS = 9  # of a label, so that it fits int32


class PictureList:
    """Lines `relative/path.jpg label`. The path may contain spaces: the label stands behind the last one.

    Raises UserError with file and line for anything else.
    """

    def __init__(self, path: Path):
        self.path = path
        text, ends, labels, numbers = bytearray(), array("q", [0]), array("i"), array("i")
        for place, line in file_lines(path):
            name, label = _entry(line, place)
            text += name.encode()
            ends.append(len(text))
            labels.append(label)
            numbers.append(int(place.rpartition(":")[2]))
        if not labels:
            raise UserError(f"{path} names no picture; each line is a relative path, a space and a label")
        self._text, self._ends, self._lines = bytes(text), ends, numbers
        self.labels = np.frombuffer(labels, np.int32)  # [N]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, row: int) -> str:
        return self._text[self._ends[row] : self._ends[row + 1]].decode()

    def names(self) -> Iterator[str]:
        return map(self.name, range(len(self)))

    def place(self, row: int) -> str:
        """File and line, for messages."""
        return f"{self.path}:{self._lines[row]}"


def _entry(line: str, place: str) -> tuple[str, int]:
    name, label = (line.rsplit(None, 1) + [""])[:2]
    if not (label.isascii() and label.isdigit() and len(label) <= _DIGITS):
        raise UserError(
            f"{place}: {shown(line)} is no picture with its label; write a relative path, a space and a number from 0"
        )
    check_name(name, place)
    if "//" in name or "./" in name:  # else one picture has several names
        name = posixpath.normpath(name)
    return name, int(label)
