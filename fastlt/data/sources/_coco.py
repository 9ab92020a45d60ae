"""One file of instances in the format of COCO or LVIS, as compact arrays."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastlt.data.sources._inside import check_name
from fastlt.data.sources._json_lists import read_lists
from fastlt.data.sources._lines import shown
from fastlt.data.sources._problems import Problems
from fastlt.errors import UserError


@dataclass(frozen=True)
class Instances:
    """What the images of one file show. LVIS (Gupta et al., CVPR 2019) looks for some classes only in each image."""

    categories: dict[int, str]  # by id, ascending; class c is the c-th
    federated: bool  # LVIS: a class that is neither positive nor negative is unknown
    by_url: bool  # names are FOLDER/FILE, else paths inside the folder of the split
    names: Names
    positive: Rows
    negative: Rows  # LVIS: verified to be absent


class Names:
    """Strings in one row of bytes."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])

    def append(self, name: str) -> None:
        self._bytes += name.encode()
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, i: int) -> str:
        return self._bytes[self._ends[i] : self._ends[i + 1]].decode()


class Rows:
    """Classes of each image, from int64 keys image * classes + class, distinct and ascending."""

    def __init__(self, keys: np.ndarray, images: int, classes: int):
        self._starts = np.searchsorted(keys, np.arange(images + 1) * classes)
        self._classes = (keys % classes).astype(np.int32)

    def __getitem__(self, image: int) -> tuple[int, ...]:
        return tuple(self._classes[self._starts[image] : self._starts[image + 1]].tolist())

    def counts(self) -> np.ndarray:
        """int64 [images]"""
        return np.diff(self._starts)


def read_instances(path: Path, drop_crowd: bool, problems: Problems) -> Instances:
    """Raises UserError for whatever is not in the format, for unknown or repeated images and categories.

    Boxes without area, or less than a pixel wide or high, give no label (as in Wu et al., ECCV 2020) and are added to
    `problems`. `drop_crowd` overlooks boxes around a crowd of objects too.
    """
    reader = _Reader(path, drop_crowd, problems)
    takers = {"images": reader.take_image, "annotations": reader.take_annotation, "categories": reader.take_category}
    read_lists(path, takers)
    return reader.result()


class _Reader:
    """Takes the values one at a time. Lists may come in any order, so ids are resolved at the end."""

    def __init__(self, path: Path, drop_crowd: bool, problems: Problems):
        self._path, self._drop_crowd, self._problems = path, drop_crowd, problems
        self._categories: dict[int, str] = {}
        self._image_ids, self._names = array("q"), Names()
        self._kind: tuple[bool, bool] | None = None  # federated, by_url
        self._positive = _Pairs()  # image id, category id
        self._negative = _Pairs()
        self._partly_shown: set[int] = set()  # categories of which some image does not show every object in a box

    def take_category(self, value: object, number: int) -> None:
        place = self._place("categories", number)
        entry = _object(value, place)
        id, name = _integer(entry, "id", place), _text(entry, "name", place)
        if id in self._categories:
            raise UserError(f"{place} has the id {id} of another category; correct the file")
        if not name.isprintable():
            raise UserError(f"{place} has the name {shown(name)}, which cannot be printed; correct the file")
        self._categories[id] = name

    def take_image(self, value: object, number: int) -> None:
        place = self._place("images", number)
        entry = _object(value, place)
        id, federated = _integer(entry, "id", place), "neg_category_ids" in entry
        by_url = federated and "coco_url" in entry
        if self._kind not in (None, (federated, by_url)):
            raise UserError(f"{place} differs from images[0] in having neg_category_ids or coco_url; correct the file")
        self._kind = federated, by_url
        self._names.append(_url_name(entry, place) if by_url else check_name(_text(entry, "file_name", place), place))
        self._image_ids.append(id)
        if federated:
            for category in _integers(entry, "neg_category_ids", place):
                self._negative.append(id, category)
            self._partly_shown.update(_integers(entry, "not_exhaustive_category_ids", place))

    def take_annotation(self, value: object, number: int) -> None:
        place = self._place("annotations", number)
        entry = _object(value, place)
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{place} has iscrowd {shown(str(crowd))}; it must be 0 or 1")
        flaw = _flaw(entry, place)
        if flaw:
            self._problems.append((place, f"{flaw}, so it gives no label"))
        gives_label = not flaw and not (crowd and self._drop_crowd)
        self._positive.append(_integer(entry, "image_id", place), _integer(entry, "category_id", place), gives_label)

    def result(self) -> Instances:
        for what, found in (
            ("images", self._image_ids),
            ("annotations", self._positive.images),
            ("categories", self._categories),
        ):
            if not len(found):
                raise UserError(f"{self._path} has no list of {what}; give a file of instances with their boxes")
        self._check_repeated_names()
        categories = dict(sorted(self._categories.items()))
        images, ids = np.frombuffer(self._image_ids, np.int64), np.fromiter(categories, np.int64)
        self._check_repeated_images(images)
        self._require_known(np.array(sorted(self._partly_shown), np.int64), ids, "category")
        positive, negative = self._keys(self._positive, images, ids), self._keys(self._negative, images, ids)
        negative = self._without_contradictions(positive, negative, images, list(categories.values()))
        sizes = len(images), len(ids)
        return Instances(categories, *self._kind, self._names, Rows(positive, *sizes), Rows(negative, *sizes))

    def _keys(self, pairs: _Pairs, images: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Distinct image * classes + class of the pairs that give a label, ascending."""
        keys = self._require_known(np.frombuffer(pairs.images, np.int64), images, "image")
        keys *= len(categories)
        keys += self._require_known(np.frombuffer(pairs.categories, np.int64), categories, "category")
        return np.unique(keys[np.frombuffer(pairs.give_label, bool)])

    def _require_known(self, wanted: np.ndarray, known: np.ndarray, what: str) -> np.ndarray:
        """int64: where each wanted id is among the known ones. Raises UserError for one that is not."""
        order = np.argsort(known)
        found = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
        missing = np.flatnonzero(known[found] != wanted)
        if len(missing):
            id = wanted[missing[0]]
            raise UserError(f"{self._path}: {what} {id} is referred to but not listed; correct the file")
        return found

    def _without_contradictions(
        self, positive: np.ndarray, negative: np.ndarray, images: np.ndarray, classes: list[str]
    ) -> np.ndarray:
        """A box outweighs the list of absent categories."""
        for key in np.intersect1d(positive, negative, assume_unique=True).tolist():
            image, c = divmod(key, len(classes))
            place = f"{self._path.name}: image {images[image]}"
            self._problems.append(
                (place, f"{shown(classes[c])} has a box but is listed as absent; it counts as present")
            )
        return np.setdiff1d(negative, positive, assume_unique=True)

    def _check_repeated_images(self, ids: np.ndarray) -> None:
        ascending = np.sort(ids)
        repeated = ascending[1:][ascending[1:] == ascending[:-1]]
        if len(repeated):
            raise UserError(f"{self._path} lists image {repeated[0]} twice; correct the file")

    def _check_repeated_names(self) -> None:
        repeated, times = Counter(self._categories.values()).most_common(1)[0]
        if times > 1:
            raise UserError(f"{self._path} has two categories of the name {shown(repeated)}; rename one")

    def _place(self, key: str, number: int) -> str:
        return f"{self._path.name}: {key}[{number}]"


class _Pairs:
    """Image and category ids, 17 bytes a pair."""

    def __init__(self) -> None:
        self.images, self.categories, self.give_label = array("q"), array("q"), array("b")

    def append(self, image: int, category: int, gives_label: bool = True) -> None:
        self.images.append(image)
        self.categories.append(category)
        self.give_label.append(gives_label)


def _flaw(entry: dict, place: str) -> str | None:
    """Why a box is none; coordinates may be negative, where it reaches over the border."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, [*box, entry.get("area")])):
        raise UserError(f"{place} needs a bbox of four finite numbers, and a finite area; correct the file")
    width, height = box[2:]
    if width < 1 or height < 1:
        return f"its box of {width:g} x {height:g} is smaller than a pixel"
    return f"its area is {entry['area']:g}" if entry["area"] <= 0 else None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _object(value: object, place: str) -> dict:
    if not isinstance(value, dict):
        raise UserError(f"{place} is {shown(str(value))}, not an object with keys; correct the file")
    return value


def _integer(entry: dict, key: str, place: str) -> int:
    value = entry.get(key)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise UserError(f"{place} needs a whole number as {key}, not {shown(str(value))}; correct the file")
    return value


def _integers(entry: dict, key: str, place: str) -> list[int]:
    values = entry.get(key)
    if not isinstance(values, list):
        raise UserError(f"{place} needs a list of whole numbers as {key}; correct the file")
    return [_integer({key: value}, key, place) for value in values]


def _text(entry: dict, key: str, place: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise UserError(f"{place} needs a text as {key}; correct the file")
    return value


def _url_name(entry: dict, place: str) -> str:
    """FOLDER/FILE: LVIS takes its pictures from train2017 and val2017 of COCO and names them by URL only."""
    name = "/".join(_text(entry, "coco_url", place).split("/")[-2:])
    folder, _, file = check_name(name, place).partition("/")
    if not folder or not file:
        raise UserError(f"{place} has a coco_url that does not end in FOLDER/FILE; correct the file")
    return name
