"""A long tail cut out of a training set with one label an image.

Exponential and step sizes are those of LDAM (Cao et al., NeurIPS 2019) and BBN (Zhou et al., CVPR 2020), image for
image; pareto follows ImageNet-LT (Liu et al., CVPR 2019).
"""

from __future__ import annotations

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.hashing import key, shuffled

PARETO_POWER = 6  # of ImageNet-LT


def class_sizes(
    name: str, imbalance: float, largest: int | None, available: np.ndarray, parts: tuple = ()
) -> np.ndarray:
    """int64 [C]: images that stay of each class when `available` int64 [C] are there; never more than those.

    `parts` name the key of what is random.

    With n_max = `largest`, without it the largest class's size, for class i of C:
    exponential: int(n_max * imbalance ** (-i / (C - 1))). step: n_max in the first half of the classes, int(n_max /
    imbalance) in the others. pareto: int(n_max * x ** -7) with x going evenly from 1 to imbalance ** (1 / 7), that
    is along the density of the Pareto distribution of power 6; which class comes where is a keyed random order.
    """
    classes, most, share = len(available), largest or int(available.max()), 1 / imbalance
    if name == "exponential":
        wanted = [int(most * share ** (i / max(classes - 1, 1))) for i in range(classes)]
    elif name == "step":
        wanted = [most if i < classes // 2 else int(most * share) for i in range(classes)]
    else:
        along = np.linspace(1, imbalance ** (1 / (PARETO_POWER + 1)), classes)
        sizes = np.floor(most * along ** -(PARETO_POWER + 1.0) + 1e-9)  # the last is n_max / imbalance to rounding
        wanted = np.empty(classes)
        wanted[shuffled(key(*parts, "order"), classes)] = sizes
    return np.minimum(available, np.asarray(wanted, np.int64))


def choose_single_label(
    labels: LabelRows, name: str, imbalance: float, largest: int | None, parts: tuple
) -> np.ndarray:
    """Rows that stay, int64, ascending: a random choice within each class, with a key named by `parts`."""
    sizes = class_sizes(name, imbalance, largest, labels.counts(), parts)
    indptr, members = labels.members()
    kept = []
    for c, size in enumerate(sizes):
        rows = members[indptr[c] : indptr[c + 1]]
        kept.append(rows[shuffled(key(*parts, c), len(rows))[:size]])
    return np.sort(np.concatenate(kept))
