"""How often an image is shown so that the rare values of its attributes are met more often.

The rule is Flixstock's, published with their partial-label models: images repeated offline. Here they are repeated in
the stream, so that no copy is stored, and `repeats` also says how many copies an offline balancing makes.
"""

from __future__ import annotations

import numpy as np

from fastlt.errors import UserError

# (least sum of weights, times shown)
STEPS = ((20, 40), (15, 30), (5, 20))
LEAST_MINORITIES = 2


def repeats(members: tuple[np.ndarray, np.ndarray], attributes: dict[str, list[int]], size: int) -> np.ndarray:
    """int64 [size]: how often each image is shown, at least once.

    `members` is (indptr [C + 1], image index [nnz]). A value's weight is the count of its attribute's most frequent
    value over its own count, an unknown attribute's 0, and S an image's sum. If at least two of its attributes are not
    of the most frequent value (unknown is not either), it is shown 40 times for S >= 20, 30 for S >= 15, 20 for S >= 5.
    Raises UserError for a set without attributes.
    """
    if not attributes:
        raise UserError(
            "there are no attributes to balance; source csv with --option attributes=... makes a set that has some"
        )
    indptr, images = members
    counts = np.diff(indptr)
    weight_sum = np.zeros(size)
    minorities = np.full(size, len(attributes))
    for classes in attributes.values():
        largest = counts[classes].max()
        for c in classes:
            shown = images[indptr[c] : indptr[c + 1]]
            weight_sum[shown] += largest / max(counts[c], 1)
            minorities[shown] -= counts[c] == largest
    out = np.ones(size, np.int64)
    for least, times in reversed(STEPS):
        out[(weight_sum >= least) & (minorities >= LEAST_MINORITIES)] = times
    return out
