"""Pictures that do not decode in training: set aside for the rest of the run, another of their class in their place."""

from __future__ import annotations

import numpy as np

from fastlt.errors import UserError


class Replacement:
    """Maps image indices to image indices that decode: a pure function of the set of bad images.

    A bad image gives way to the next image of its class, the rarest one where it has several, so that the class
    balance of a stream stays what it was; an image without a class, or any where not `within_class`, to the next image
    of the split.
    """

    def __init__(self, records, members: tuple[np.ndarray, np.ndarray], limit: int, within_class: bool = True) -> None:
        self.records, self.members, self.limit, self.within_class = records, members, limit, within_class
        self.forget_all_but(set())

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """int64 [B] with every bad index replaced."""
        hit = np.isin(indices, self._sorted)
        if not hit.any():
            return indices
        replaced = indices.copy()
        replaced[hit] = [self._instead(int(index)) for index in indices[hit]]
        return replaced

    def forget_all_but(self, bad: set[int]) -> None:
        self.bad = set(bad)
        self._sorted = np.array(sorted(bad), np.int64)

    def set_aside(self, found: list[int]) -> None:
        """Raises UserError past the limit, naming a picture."""
        self.forget_all_but(self.bad | set(found))
        if len(self.bad) > self.limit:
            names = ", ".join(self.records.ids(np.array(found[:3])))
            raise UserError(
                f"{len(self.bad)} pictures do not decode, the last ones: {names}; build the data set again, "
                "or raise data.max_bad_images"
            )

    def _instead(self, index: int) -> int:
        mates = self._classmates(index)
        start = int(np.searchsorted(mates, index))
        for offset in range(1, len(mates)):
            candidate = int(mates[(start + offset) % len(mates)])
            if candidate not in self.bad:
                return candidate
        raise UserError(
            f"picture {self.records.ids(np.array([index]))[0]} does not decode, nor does any that could take its "
            "place; build the data set again"
        )

    def _classmates(self, index: int) -> np.ndarray:
        """The images that may take the place of `index`, ascending."""
        label = self.records.labels(np.array([index]))[0]
        classes = np.flatnonzero(label == 1) if np.ndim(label) else np.array([label])
        starts, images = self.members
        if not len(classes) or not self.within_class:
            return np.arange(len(self.records))
        rarest = classes[np.argmin(starts[classes + 1] - starts[classes])]
        return images[starts[rarest] : starts[rarest + 1]]
