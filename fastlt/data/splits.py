"""A validation split carved from the training images, with the same share of every class."""

from __future__ import annotations

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.hashing import key, shuffled


def carve(labels: LabelRows, share: float, seed: int) -> np.ndarray:
    """Rows of the validation split, int64, ascending: about `share` of the positives of every class.

    Classes are served from the rarest to the most frequent (after Sechidis et al., "On the stratification of
    multi-label data", ECML 2011): each takes what it still lacks from the images that no rarer class holds. With one
    label an image this is a proportional draw. The last training image of a class is never taken.
    """
    counts = labels.counts()
    wanted = np.floor(counts * share + 0.5).astype(np.int64)
    left = counts.copy()  # images of each class that stay in training
    indptr, members = labels.members()
    decided = np.zeros(len(labels), bool)
    taken: list[int] = []
    for c in np.argsort(counts, kind="stable"):
        rows = members[indptr[c] : indptr[c + 1]]
        rows = rows[~decided[rows]]
        decided[rows] = True
        missing = wanted[c] - (counts[c] - left[c])
        taken += _take(rows[shuffled(key("validation", seed, int(c)), len(rows))], missing, labels, left)
    unlabelled = np.flatnonzero(~decided)
    order = shuffled(key("validation", seed, "unlabelled"), len(unlabelled))
    taken += unlabelled[order[: int(len(unlabelled) * share + 0.5)]].tolist()
    return np.sort(np.asarray(taken, np.int64))


def _take(rows: np.ndarray, missing: int, labels: LabelRows, left: np.ndarray) -> list[int]:
    """The first `missing` rows that no class needs as its last one; counts them off `left`."""
    taken: list[int] = []
    for row in rows.tolist():
        if len(taken) >= missing:
            break
        entries = slice(labels.indptr[row], labels.indptr[row + 1])
        positive = labels.index[entries][labels.value[entries] == 1]
        if (left[positive] > 1).all():
            left[positive] -= 1
            taken.append(row)
    return taken
