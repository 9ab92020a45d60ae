"""Names of pictures out of an annotation file, held inside the folder of the data set."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fastlt.data.sources._lines import shown
from fastlt.errors import UserError

_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and surrogates, which no file name has
_LEADS_OUT = re.compile(r"^[/\\]|(^|[/\\])\.\.([/\\]|$)")


def check_name(name: str, place: str) -> str:
    """The name as it is. Raises UserError that begins with `place` if it is absolute, goes up by `..` or is no name."""
    if name.isprintable() and ".." not in name and name[:1] not in ("", "/", "\\"):  # nearly all; patterns are slow
        return name
    if not name or _UNUSABLE.search(name):
        raise UserError(f"{place} names the picture {shown(name)}, which no file can be called; correct the list")
    if _LEADS_OUT.search(name):
        raise UserError(f"{place} names the picture {shown(name)}, which leads out of the folder; correct the list")
    return name


class Inside:
    """Paths below one folder. Links may lead anywhere inside of it, but not out."""

    def __init__(self, folder: Path):
        self._folder = str(folder)
        self._real = os.path.realpath(folder)
        self._checked: set[str] = set()  # folders of pictures: few, where looking at every part of every path is slow

    def path(self, name: str, place: str) -> Path:
        """Where the picture is, whether it exists or not. Raises UserError that begins with `place`."""
        check_name(name, place)
        path = f"{self._folder}/{name}"
        parent = path.rpartition("/")[0]
        if parent not in self._checked:
            self._require(parent, name, place)
            self._checked.add(parent)
        if os.path.islink(path):
            self._require(path, name, place)
        return Path(path)

    def _require(self, path: str, name: str, place: str) -> None:
        real = os.path.realpath(path)
        if real != self._real and not real.startswith(self._real.rstrip(os.sep) + os.sep):
            raise UserError(
                f"{place}: {shown(name)} is behind a link that leads out of {self._folder}; put the pictures inside"
            )
