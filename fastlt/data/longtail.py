"""Recipes that cut a long tail out of a training set, and the groups that results are given by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.data.multi_label_tail import IMBALANCE, choose_multi_label
from fastlt.data.single_label_tail import choose_single_label
from fastlt.errors import UserError

SINGLE_LABEL = ("exponential", "step", "pareto")
LARGEST = {"voc-lt": 800, "coco-lt": 1200}  # the largest reference size of the multi-label recipes
NAMES = ("none", *SINGLE_LABEL, *LARGEST, "ids")

# Inclusive ranges of training images; None is no upper end.
SINGLE_LABEL_GROUPS = {"many": (101, None), "medium": (20, 100), "few": (0, 19)}  # Liu et al., CVPR 2019
MULTI_LABEL_GROUPS = {"head": (100, None), "medium": (20, 99), "tail": (0, 19)}  # Wu et al., ECCV 2020


@dataclass(frozen=True)
class Recipe:
    """Which training images stay. `imbalance` is the largest class over the smallest.

    none: all. exponential, step, pareto: for one label an image, see single_label_tail. voc-lt, coco-lt: for several,
    see multi_label_tail; their imbalance is fixed at 100. ids: the images that `ids` names.

    largest: images of the largest class; without, as many as there are, or 800 (voc-lt) and 1,200 (coco-lt).
    """

    name: str = "none"
    imbalance: float = 1.0
    largest: int | None = None
    ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"unknown recipe {self.name!r}; choose one of {', '.join(NAMES)}")
        if not 1 <= self.imbalance < float("inf"):
            raise UserError(f"imbalance {self.imbalance:g} must be 1 or more: the largest class over the smallest")
        if self.largest is not None and not 1 <= self.largest < 2**53:
            raise UserError(f"the largest class cannot have {self.largest} images; give 1 or more")
        if self.largest is not None and self.name in ("none", "ids"):
            raise UserError(f"recipe {self.name} has no largest class; leave --largest out")
        if bool(self.ids) != (self.name == "ids"):
            raise UserError("recipe ids and a list of ids belong together; give both or neither")

    def describe(self) -> dict:
        """What dataset.json keeps: every parameter; of a list of ids their number and a sum."""
        values = {"name": self.name, "imbalance": self.imbalance}
        if self.name in LARGEST:
            values |= {"imbalance": IMBALANCE, "largest": LARGEST[self.name]}
        if self.largest is not None:
            values["largest"] = self.largest
        if self.ids:
            joined = "\n".join(sorted(self.ids)).encode("utf-8", "surrogateescape")
            values |= {"ids": len(self.ids), "ids_sha256": hashlib.sha256(joined).hexdigest()}
        return values


def choose(
    recipe: Recipe, labels: LabelRows, multi_label: bool, dataset: str, seed: int, ids: Callable[[], list[str]]
) -> np.ndarray:
    """Rows that stay, int64, ascending.

    The choice depends on (recipe, dataset, seed) and the labels and on nothing else, so that two runs see the same
    images. `ids` gives the id of every row. Raises UserError for a recipe of the other kind of labels and for an id
    that no image has.
    """
    if recipe.name == "none":
        return np.arange(len(labels))
    if recipe.name == "ids":
        return _rows_of(recipe.ids, ids())
    if multi_label != (recipe.name in LARGEST):
        fitting = ", ".join(LARGEST if multi_label else SINGLE_LABEL)
        several = "several labels" if multi_label else "one label"
        raise UserError(f"recipe {recipe.name} does not fit {several} an image; choose none, ids, {fitting}")
    parts = ("longtail", dataset, f"{recipe.imbalance:g}", seed)
    if multi_label:
        return choose_multi_label(labels, recipe.largest or LARGEST[recipe.name], parts)
    return choose_single_label(labels, recipe.name, recipe.imbalance, recipe.largest, parts)


def group_limits(multi_label: bool) -> dict[str, tuple[int, int | None]]:
    """Inclusive ranges over the training images of a class, by group name, the largest first."""
    return dict(MULTI_LABEL_GROUPS if multi_label else SINGLE_LABEL_GROUPS)


def group_of(counts: np.ndarray, limits: dict[str, tuple[int, int | None]]) -> dict[str, np.ndarray]:
    """Class indices of each group by the training counts int64 [C]; an empty group is absent."""
    groups = {}
    for name, (low, high) in limits.items():
        inside = np.flatnonzero((counts >= low) & (counts <= (np.inf if high is None else high)))
        if inside.size:
            groups[name] = inside
    return groups


def _rows_of(wanted: frozenset[str], ids: list[str]) -> np.ndarray:
    """An id is an image's own, or the name of its file without folders and extension, as published lists have it."""
    exact = [row for row, id in enumerate(ids) if id in wanted]
    missing = wanted - {ids[row] for row in exact}
    by_stem: dict[str, list[int]] = {}
    for row, id in enumerate(ids):
        if _stem(id) in missing:
            by_stem.setdefault(_stem(id), []).append(row)
    for stem, rows in by_stem.items():
        if len(rows) > 1:
            raise UserError(f"id {stem!r} is the name of {len(rows)} images, such as {ids[rows[0]]!r}; write whole ids")
    nowhere = sorted(missing - by_stem.keys())
    if nowhere:
        raise UserError(
            f"{len(nowhere)} of {len(wanted)} ids are no training image, such as {nowhere[0]!r}; mend the list"
        )
    return np.unique(np.array([*exact, *(rows[0] for rows in by_stem.values())], np.int64))


def _stem(id: str) -> str:
    return id.rpartition("/")[2].rpartition(".")[0] or id.rpartition("/")[2]
