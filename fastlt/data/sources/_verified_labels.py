"""Tables of image-level labels that people verified, in little memory: they have up to 60 million rows.

Reading and sorting takes 8 bytes a row and some 60 an image; 2 bytes a label are kept, or 4 beyond 65,536 classes, and
32 an image. For 60 million rows and 9 million images that is 1 GB at the highest.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastlt.data.sources._lines import shown
from fastlt.data.sources._tables import Table
from fastlt.errors import UserError

POSITIVE, NEGATIVE = 0, 1  # in this order, so that the positive one of two equal pairs is sorted first
VERDICTS = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE}
PLAIN_ID = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,63}", re.ASCII)
CHUNK = 1 << 19  # rows that are read before they are packed, and codes that are looked at together


@dataclass(frozen=True)
class Classes:
    """Classes of each image: index[start[i]:start[i + 1]], ascending."""

    start: np.ndarray  # int64 [N + 1]
    index: np.ndarray  # uint16 or int32 [n]

    def of(self, row: int) -> tuple[int, ...]:
        return tuple(self.index[self.start[row] : self.start[row + 1]].tolist())


@dataclass(frozen=True)
class Images:
    ids: np.ndarray  # bytes [N], ascending
    positive: Classes
    negative: Classes


@dataclass(frozen=True)
class Rows:
    """The rows of a table whose class is in the list, and the ids of all images."""

    ids: np.ndarray  # bytes [N], ascending
    codes: np.ndarray  # int64 [n], ascending: (image * classes + class) * 2, + 1 if negative
    skipped: int  # rows of other classes


def read_verified(path: Path, number: dict[str, int]) -> Rows:
    """The table's rows in any order; `number` gives each class's place. Raises UserError with the wrong line."""
    images, codes, chunk, skipped = _Ids(), array("q"), _Chunk(), 0
    table = Table(path, ",")
    image_at, label_at, verdict_at = (table.column(name) for name in ("ImageID", "LabelName", "Confidence"))
    last = None
    for line, cells in table.rows():
        if cells[image_at] != last:
            last = cells[image_at]
            if not PLAIN_ID.fullmatch(last):
                raise UserError(f"{path} line {line} has the ImageID {shown(last)}, which names no picture; correct it")
            if len(chunk.verdicts) >= CHUNK or len(chunk.ids) >= CHUNK:
                codes.frombytes(chunk.packed(images, 2 * len(number)).view(np.uint8))
                chunk = _Chunk()
            chunk.begin(last)
        verdict = VERDICTS.get(cells[verdict_at])
        if verdict is None:
            raise UserError(
                f"{path} line {line} has Confidence {shown(cells[verdict_at])}; verified labels have 1 or 0"
            )
        label = number.get(cells[label_at])
        if label is None:
            skipped += 1
        else:
            chunk.verdicts.append(2 * label + verdict)
    if chunk.ids:
        codes.frombytes(chunk.packed(images, 2 * len(number)).view(np.uint8))
    packed = np.frombuffer(codes, np.int64) if codes else np.empty(0, np.int64)
    _sort(packed, images.ranks(), 2 * len(number))
    return Rows(images.ids, packed, skipped)


def resolve(rows: Rows, classes: int, contradicted: Callable[[int, int], None]) -> Images:
    """Every (image, class) once. Calls `contradicted` with image and class of each that is given both ways."""
    totals = np.zeros((2, len(rows.ids) + 1), np.int64)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    kind = np.uint16 if classes <= 1 << 16 else np.int32
    for start in range(0, len(rows.codes), CHUNK):
        codes = rows.codes[start : start + CHUNK]
        before = np.concatenate([rows.codes[start - 1 : start] if start else [-2], codes[:-1]])
        both = np.flatnonzero(((codes & 1) == NEGATIVE) & (before == codes - 1))
        for pair in (codes[both] >> 1).tolist():
            contradicted(*divmod(pair, classes))
        codes = codes[before >> 1 != codes >> 1]
        for verdict in (POSITIVE, NEGATIVE):
            image, label = np.divmod(codes[(codes & 1) == verdict] >> 1, classes)
            found[verdict].append(label.astype(kind))
            if len(image):
                counts = np.bincount(image - image[0])
                totals[verdict, image[0] + 1 : image[0] + 1 + len(counts)] += counts
    np.cumsum(totals, axis=1, out=totals)
    return Images(rows.ids, *(Classes(totals[v], _joined(found[v], kind)) for v in (POSITIVE, NEGATIVE)))


class _Chunk:
    """Some rows as they are read. Ids are kept once for each run of rows; published tables are grouped by image."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.verdicts = array("i")  # twice the class, + 1 if negative
        self._starts = array("q")

    def begin(self, id: str) -> None:
        self.ids.append(id)
        self._starts.append(len(self.verdicts))

    def packed(self, images: _Ids, width: int) -> np.ndarray:
        """int64: image's number * width + verdict of every row."""
        lengths = np.diff(np.array([*self._starts, len(self.verdicts)], np.int64))
        codes = np.repeat(images.numbers(np.array(self.ids, np.bytes_)) * width, lengths)
        codes += np.array(self.verdicts, np.int64)
        return codes


class _Ids:
    """Distinct ids, ascending, and the number that each got when it first came."""

    def __init__(self) -> None:
        self.ids, self._numbers = np.empty(0, "S1"), np.empty(0, np.int32)

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """int64 [n] of bytes [n]."""
        distinct, place = np.unique(ids, return_inverse=True)
        at = np.searchsorted(self.ids, distinct)
        new = np.ones(len(distinct), bool)
        inside = np.flatnonzero(at < len(self.ids))
        new[inside] = self.ids[at[inside]] != distinct[inside]
        number = np.empty(len(distinct), np.int32)
        number[~new] = self._numbers[at[~new]]
        number[new] = len(self.ids) + np.arange(np.count_nonzero(new))
        widest = np.promote_types(self.ids.dtype, distinct.dtype)
        self.ids = np.insert(self.ids.astype(widest, copy=False), at[new], distinct[new])
        self._numbers = np.insert(self._numbers, at[new], number[new])
        return number[place].astype(np.int64)

    def ranks(self) -> np.ndarray:
        """int32: where the id of each number stands among all."""
        ranks = np.empty(len(self._numbers), np.int32)
        ranks[self._numbers] = np.arange(len(ranks), dtype=np.int32)
        return ranks


def _sort(codes: np.ndarray, ranks: np.ndarray, width: int) -> None:
    """Puts the ranks of the images in place of their numbers, and sorts, in place."""
    for start in range(0, len(codes), CHUNK):
        part = codes[start : start + CHUNK]
        image, verdict = np.divmod(part, width)
        part[:] = ranks[image].astype(np.int64) * width + verdict
    codes.sort()


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    """All parts in one; empties `parts`."""
    joined, end = np.empty(sum(map(len, parts)), kind), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        joined[end : end + len(part)] = part
        end += len(part)
    return joined
