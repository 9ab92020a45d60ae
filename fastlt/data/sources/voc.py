"""PASCAL VOC (Everingham et al., IJCV 2010), 2007 to 2012: 20 classes, which of them an image shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._inside import Inside
from fastlt.data.sources._voc import ABSENT, CLASSES, DIFFICULT, PRESENT, read_annotation
from fastlt.data.sources._voc_lists import Lists, Years
from fastlt.errors import UserError

AUTO = "auto"


class Source:
    """A VOCdevkit folder, or one VOCyyyy folder of it.

    years: one or several; default all that have the list `train`. train: a list in ImageSets/Main. test: the same;
    `auto` is `test` where a year has it, else `val` when training on `train`, else none; None is none. test_years:
    default those of `years` that have the list; 2012 for training and 2007 for testing is VOC-LT (Wu et al., ECCV
    2020). difficult: `keep` counts objects marked difficult as any other, as VOC-LT does; `drop` overlooks them;
    `unknown` leaves open a class that an image shows only as difficult, as the evaluation of VOC does.
    """

    name = "voc"
    multi_label = True
    default_val = 0.1
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path,
        years: Years = None,
        train: str = "trainval",
        test: str | None = AUTO,
        test_years: Years = None,
        difficult: str = "keep",
    ):
        if difficult not in ("keep", "drop", "unknown"):
            raise UserError(f"difficult is {difficult!r}; choose keep, drop or unknown")
        self._difficult, self.classes = difficult, list(CLASSES)
        lists = Lists(root)
        self._listed = _choose(lists, years, train, test, test_years)
        self.splits = tuple(self._listed)
        self._images = {split: lists.read(*listed) for split, listed in self._listed.items()}
        self._several = len({year for _, years in self._listed.values() for year in years}) > 1
        self._inside = {year: Inside(folder) for year, folder in lists.folders.items()}
        self._states: dict[str, np.ndarray] = {}
        self._check_that_no_image_repeats()

    def items(self, split: str) -> Iterator[Item]:
        for (year, id), states in zip(self._images[split], self._read_states(split), strict=True):
            path = self._inside[year].path(f"JPEGImages/{id}.jpg", f"VOC{year} {self._listed[split][0]}")
            yield Item(f"VOC{year}/{id}" if self._several else id, path, *self._labels(states))

    def describe(self) -> dict:
        lists = {split: {"list": name, "years": years} for split, (name, years) in self._listed.items()}
        return {"name": self.name, "difficult": self._difficult, "lists": lists}

    def _labels(self, states: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positive and unknown classes."""
        positive = states != ABSENT if self._difficult == "keep" else states == PRESENT
        unknown = states == DIFFICULT if self._difficult == "unknown" else ()
        return tuple(np.flatnonzero(positive).tolist()), tuple(np.flatnonzero(unknown).tolist())

    def _read_states(self, split: str) -> np.ndarray:
        """uint8 [N, 20]: every annotation of a split, read when first needed."""
        if split not in self._states:
            images = self._images[split]
            states = np.zeros((len(images), len(CLASSES)), np.uint8)
            for row, (year, id) in zip(states, images, strict=True):
                row[:] = read_annotation(self._inside[year].path(f"Annotations/{id}.xml", f"VOC{year}"))
            self._states[split] = states
        return self._states[split]

    def _check_that_no_image_repeats(self) -> None:
        """Later years hold images of earlier ones again, and lists may overlap."""
        seen: dict[str, str] = {}
        for split, images in self._images.items():
            for year, id in images:
                here = f"VOC{year} {self._listed[split][0]}"
                if id in seen:
                    raise UserError(f"image {id} is both in {seen[id]} and in {here}; choose other years or lists")
                seen[id] = here


def _choose(
    lists: Lists, years: Years, train: str, test: str | None, test_years: Years
) -> dict[str, tuple[str, list[int]]]:
    """The list of each split, and the years it is taken from."""
    chosen = {"train": lists.named(train, lists.years(years, "years"), strict=years is not None)}
    candidates = lists.years(years if test_years is None else test_years, "test_years")
    if test == AUTO:
        test = lists.usual_test(train, candidates)
    if test is not None:
        chosen["test"] = lists.named(test, candidates, strict=test_years is not None)
    elif test_years is not None:
        raise UserError(f"test_years is {test_years}, but nothing is to be tested on; name a list as test")
    return chosen
