"""Lines of a text file that may be large or no text at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from fastlt.errors import UserError

LONGEST = 1 << 20  # bytes; a row of a label matrix is the longest line there is
_SHOWN = 80
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def file_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of each line that is not blank; see `lines`."""
    if not path.is_file():  # a device or a pipe would never end
        raise UserError(f"{path} is no file; give the list's path, relative to the folder of the pictures or absolute")
    try:
        with open(path, "rb") as file:
            yield from lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def lines(file: BinaryIO, name: str) -> Iterator[tuple[str, str]]:
    """(place, text) of each line that is not blank, without the white space around it.

    `place` is name:number for messages. Raises UserError for what is not UTF-8, for control characters and for lines
    beyond `LONGEST`.
    """
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        place = f"{name}:{number}"
        if len(line) == LONGEST:
            raise UserError(f"{place} has more than {LONGEST} bytes, so it is no list of lines; give the right file")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise UserError(f"{place} is not UTF-8 text; save the list as UTF-8") from None
        if not text.isprintable() and (control := _CONTROL.search(text)):
            raise UserError(f"{place} has the control character {control[0]!r}; save the list as plain text")
        if text:
            yield place, text


def distinct(found: Iterable[tuple[str, str]], what: str) -> list[str]:
    """The texts of all lines. Raises UserError for one that comes twice, and if there is none."""
    seen: dict[str, str] = {}
    for place, text in found:
        if text in seen:
            raise UserError(f"{place}: {what} {shown(text)} was already given at {seen[text]}; correct the list")
        seen[text] = place
    return list(seen)


def shown(text: str) -> str:
    """Quoted for a message, on one line and not too long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
