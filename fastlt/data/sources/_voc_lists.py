"""The years of a VOCdevkit and their lists of images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fastlt.data.sources._inside import check_name
from fastlt.data.sources._lines import distinct, file_lines, shown
from fastlt.errors import UserError

Years = int | list[int] | None


class Lists:
    """The lists of images in the folders of the years."""

    def __init__(self, root: Path):
        self.folders = _year_folders(root)
        self._root = root

    def years(self, wanted: Years, option: str) -> list[int]:
        """Those wanted, default all. Raises UserError for one that is not there."""
        if wanted is None:
            return list(self.folders)
        wanted = wanted if isinstance(wanted, list) else [wanted]
        for year in wanted:
            if type(year) is not int or year not in self.folders:
                there = ", ".join(map(str, self.folders))
                raise UserError(f"{self._root}: {option} has {year!r}, which is not there; choose from {there}")
        if not wanted:
            raise UserError(f"{self._root}: {option} is empty; leave it out for every year that is there")
        return sorted(set(wanted))

    def named(self, name: str, years: list[int], strict: bool) -> tuple[str, list[int]]:
        """The list and the years that have it; all `years` must if strict. Raises UserError if none has it."""
        if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
            raise UserError(f"{name!r} is no name of a list in ImageSets/Main; give one such as trainval")
        holders = self._holders(name, years)
        lacking = [year for year in years if year not in holders]
        if not holders or (strict and lacking):
            path = _list_file(self.folders[lacking[0]], name)
            raise UserError(f"{path} is missing; name another list, or years that have it")
        return name, holders

    def usual_test(self, train: str, years: list[int]) -> str | None:
        if self._holders("test", years):
            return "test"
        return "val" if train == "train" and self._holders("val", years) else None

    def read(self, name: str, years: list[int]) -> list[tuple[int, str]]:
        """Year and id of every image of a list."""
        return [(year, id) for year in years for id in _read_list(_list_file(self.folders[year], name))]

    def _holders(self, name: str, years: list[int]) -> list[int]:
        return [year for year in years if os.path.isfile(_list_file(self.folders[year], name))]


def _year_folders(root: Path) -> dict[int, Path]:
    """VOCyyyy folders by year: those inside a VOCdevkit, or `root` itself. Raises UserError if there is none."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give the VOCdevkit folder, unpacked")
    candidates = [Path(os.path.abspath(root)), *root.iterdir()]
    found = [(re.fullmatch(r"VOC(\d{4})", path.name, re.ASCII), path) for path in candidates]
    folders = {int(match[1]): path for match, path in found if match and (path / "ImageSets").is_dir()}
    if not folders:
        raise UserError(f"{root} holds no VOC2007, VOC2012 or the like with ImageSets in it; give the VOCdevkit folder")
    return dict(sorted(folders.items()))


def _read_list(path: Path) -> list[str]:
    """The ids of a list of images. Raises UserError if it is no plain list, or lists one twice."""
    return distinct(((place, _image_id(text, place)) for place, text in file_lines(path)), "image")


def _image_id(text: str, place: str) -> str:
    if len(text.split()) > 1:
        raise UserError(f"{place} has more than one column; name a list of images, not one of a class")
    if "/" in check_name(text, place):
        raise UserError(f"{place} gives the path {shown(text)} in place of an image's id; correct the list")
    return text


def _list_file(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"
