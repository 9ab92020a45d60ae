"""A long tail cut out of a training set with several labels an image, as VOC-LT and COCO-LT were.

Wu et al., "Distribution-balanced loss", ECCV 2020, section 4.1. Labels come together, so a class cannot be cut alone:
classes are served one after the other, and what is added or taken away for one changes the counts of the others.
"""

from __future__ import annotations

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.hashing import key, shuffled

PARETO_POWER, IMBALANCE = 6, 100


def reference_sizes(largest: int, classes: int) -> np.ndarray:
    """int64 [C]: int((largest - 1) * x ** -7 + 1) with x going evenly from 1 to 100 ** (1 / 6): the density of the
    Pareto distribution of power 6 between its quantiles 0 and 0.99."""
    along = np.linspace(1, IMBALANCE ** (1 / PARETO_POWER), classes)
    return ((largest - 1) * along ** -(PARETO_POWER + 1.0) + 1).astype(np.int64)


def class_order(labels: LabelRows) -> np.ndarray:
    """int64 [C]: the class that others come together with most first: descending sum over i of P(class | i)."""
    counts = np.maximum(labels.counts(), 1)
    positive = labels.value == 1
    row = np.repeat(np.arange(len(labels)), np.diff(labels.indptr))[positive]
    label = labels.index[positive]
    shares = np.bincount(row, weights=1 / counts[label], minlength=len(labels))  # of each image: sum of 1 / n_i
    return np.argsort(-np.bincount(label, weights=shares[row], minlength=labels.classes), kind="stable")


def choose_multi_label(labels: LabelRows, largest: int, parts: tuple) -> np.ndarray:
    """Rows that stay, int64, ascending.

    Beginning with none, the i-th class of `class_order` gets reference_sizes[i] images: as many as are missing are
    drawn from those that are not chosen, or as many as are too many are taken away, with a key named by `parts`.
    """
    indptr, members = labels.members()
    chosen = np.zeros(len(labels), bool)
    counts = np.zeros(labels.classes, np.int64)
    for size, c in zip(reference_sizes(largest, labels.classes), class_order(labels).tolist(), strict=True):
        rows = members[indptr[c] : indptr[c + 1]]
        add = size > counts[c]
        candidates = rows[chosen[rows] != add]
        drawn = candidates[shuffled(key(*parts, c), len(candidates))[: abs(size - counts[c])]]
        chosen[drawn] = add
        changed = labels.take(drawn).counts()
        counts += changed if add else -changed
    return np.flatnonzero(chosen)
