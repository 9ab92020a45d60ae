"""Recipes that make a balanced single-label training set long-tailed, and the groups that results are given by.

The sizes are those of LDAM (Cao et al., NeurIPS 2019) and BBN (Zhou et al., CVPR 2020), image for image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.errors import UserError
from fastlt.hashing import key, shuffled

NAMES = ("none", "exponential", "step")

# Inclusive ranges of training images; None is no upper end.
SINGLE_LABEL_GROUPS = {"many": (101, None), "medium": (20, 100), "few": (0, 19)}  # Liu et al., CVPR 2019
MULTI_LABEL_GROUPS = {"head": (100, None), "medium": (20, 99), "tail": (0, 19)}  # Wu et al., ECCV 2020


@dataclass(frozen=True)
class Recipe:
    """How many images of each class stay; `imbalance` is the largest class over the smallest.

    none: all of them. exponential: n_i = int(n_max * imbalance ** (-i / (C - 1))) for class i of C. step: n_max in
    the first half of the classes, int(n_max / imbalance) in the others. n_max is the size of the largest class.
    """

    name: str = "none"
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"unknown recipe {self.name!r}; choose one of {', '.join(NAMES)}")
        if not 1 <= self.imbalance < float("inf"):
            raise UserError(f"imbalance {self.imbalance:g} must be 1 or more: the largest class over the smallest")

    def describe(self) -> dict:
        return asdict(self)


def class_sizes(recipe: Recipe, available: np.ndarray) -> np.ndarray:
    """int64 [C]: images that stay of each class when `available` int64 [C] are there; never more than those."""
    classes, largest, share = len(available), int(available.max()), 1 / recipe.imbalance
    if recipe.name == "exponential":
        wanted = [int(largest * share ** (i / max(classes - 1, 1))) for i in range(classes)]
    elif recipe.name == "step":
        wanted = [largest if i < classes // 2 else int(largest * share) for i in range(classes)]
    else:
        wanted = available
    return np.minimum(available, np.asarray(wanted, np.int64))


def choose(recipe: Recipe, labels: LabelRows, dataset: str, seed: int) -> np.ndarray:
    """Rows of a single-label set that stay, int64, ascending; a keyed random choice within each class.

    The choice depends on (dataset, imbalance, seed) and on nothing else, so that two runs see the same images.
    """
    if recipe.name == "none":
        return np.arange(len(labels))
    sizes = class_sizes(recipe, labels.counts())
    indptr, members = labels.members()
    kept = []
    for c, size in enumerate(sizes):
        rows = members[indptr[c] : indptr[c + 1]]
        order = shuffled(key("longtail", dataset, f"{recipe.imbalance:g}", seed, c), len(rows))
        kept.append(rows[order[:size]])
    return np.sort(np.concatenate(kept))


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
