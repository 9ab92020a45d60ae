"""NAME_dictionary.txt, NAME_train_list.txt, NAME_train_annot.txt and so on, as IAPR TC-12 and ESP-GAME come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from fastlt.data.sources._archive import require
from fastlt.data.sources._lines import distinct, lines, shown
from fastlt.errors import UserError

_LIST = "_train_list.txt"
Listed = Iterator[tuple[str, str, list[int]]]  # place, name and classes of each picture


def recognises(files: dict[str, bytes]) -> bool:
    return bool(_names(files))


def read(files: dict[str, bytes], root: Path, what: str) -> tuple[list[str], dict[str, Listed]]:
    """Words, and the pictures of train and test. Raises UserError with file and line for anything else."""
    names = _names(files)
    if len(names) > 1:
        raise UserError(f"{root} has the lists of {', '.join(names)}; give a folder for each data set")
    name = names[0] if names else "NAME"
    needed = [f"{name}_{split}_{part}.txt" for split in ("train", "test") for part in ("list", "annot")]
    require(files, [f"{name}_dictionary.txt", *needed], root, f"{what} in the form list")

    def text(part: str) -> Iterator[tuple[str, str]]:
        file = f"{name}_{part}.txt"
        return lines(io.BytesIO(files[file]), f"{root}: {file}")

    words = distinct(text("dictionary"), "word")
    if not words:
        raise UserError(f"{root}: {name}_dictionary.txt is empty; it gives one word a line")
    return words, {s: _listed(text(f"{s}_list"), text(f"{s}_annot"), len(words)) for s in ("train", "test")}


def _names(files: dict[str, bytes]) -> list[str]:
    return sorted(file[: -len(_LIST)] for file in files if file.endswith(_LIST) and "/" not in file)


def _listed(pictures: Iterator[tuple[str, str]], rows: Iterator[tuple[str, str]], words: int) -> Listed:
    place = "its list of pictures"
    for place, name in pictures:
        annotation = next(rows, None)
        if annotation is None:
            raise UserError(f"{place}: picture {shown(name)} has no row of annotations; the two files do not fit")
        yield place, name, _classes(*annotation, words)
    if (left := next(rows, None)) is not None:
        raise UserError(f"{left[0]} is a row of annotations without a picture, after {place}; the two files do not fit")


def _classes(place: str, row: str, words: int) -> list[int]:
    cells = row.replace(",", " ").split()
    if len(cells) != words:
        raise UserError(f"{place} has {len(cells)} values where the dictionary has {words} words; correct the row")
    positive = {cell: _is_one(cell, place) for cell in set(cells)}
    return [i for i, cell in enumerate(cells) if positive[cell]]


def _is_one(cell: str, place: str) -> bool:
    """Written by other programs, a 1 may be 1.0 or 1.0000000e+00."""
    try:
        value = float(cell)
    except ValueError:
        value = -1
    if value not in (0, 1):
        raise UserError(f"{place} has the value {shown(cell)}; a word is given by 0 or 1")
    return value == 1
