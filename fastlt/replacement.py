"""Pictures that cannot be shown in training: found before they are, another of their class in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fastlt.data.first_look import fault
from fastlt.data.records import RecordBatch
from fastlt.errors import UserError

NOT_DECODED = "it does not decode"
Decodes = Callable[[int, int, np.ndarray], bool]


class Shown(NamedTuple):
    """Images int64 [B], their records, and the images that had to give way."""

    index: np.ndarray
    pictures: RecordBatch
    bad: set[int]


class Replacement:
    """Maps the image at each position of a stream to one that can be shown there.

    An image that cannot gives way to the next image of its class, the rarest one where it has several, so that the
    class balance of a stream stays what it was; an image without a class, or any where not `within_class`, to the next
    image of the split. What is shown at a position depends on the position and on the files alone, not on what was met
    before: neither ranks nor resuming change it.

    A record is looked at when it is read first (first_look.py). That a decoder refuses what lies behind a sound header
    is told by `doubt`: from then on the image is tried before it is shown, for one window of it may decode where
    another does not. One bit an image is held in memory.
    """

    def __init__(self, records, members: tuple[np.ndarray, np.ndarray], limit: int, within_class: bool = True) -> None:
        self.records, self.members, self.limit, self.within_class = records, members, limit, within_class
        self.reasons: dict[int, str] = {}
        self._looked = np.zeros((len(records) + 7) // 8, np.uint8)
        self._no_picture: set[int] = set()
        self.forget_all_but(set())

    def __call__(self, indices: np.ndarray, decodes: Decodes) -> Shown:
        """What to show instead of `indices`, int64 [B]; `decodes(row, image, record)` tries it at the place of `row`.

        Raises UserError past the limit, and where no image can take a place.
        """
        pictures = self.records.read(indices)
        if self.records.encoding == "raw":
            return Shown(indices, pictures, set())
        self._look(indices, pictures)
        suspected = self._no_picture | self._doubtful
        suspects = [row for row, image in enumerate(indices.tolist()) if image in suspected] if suspected else []
        shown, bad = indices.copy() if suspects else indices, set()
        for row in suspects:
            shown[row], pictures[row] = self._instead(row, int(indices[row]), decodes, bad)
        return Shown(shown, pictures, bad)

    def forget_all_but(self, bad: set[int]) -> None:
        """Begins with the bad images of a checkpoint."""
        self.bad = set(bad)
        self._doubtful = set(bad)

    def doubt(self, found: set[int]) -> bool:
        """Images that were refused: they are tried from now on. False if that was done already."""
        new = not found <= self._doubtful
        self._doubtful = self._doubtful | found
        return new

    def count(self, bad: set[int]) -> None:
        """Adds the bad images of a step that was done. Raises UserError past the limit."""
        self.bad |= bad
        self.check_limit(self.bad, bad)

    def check_limit(self, bad: set[int], last: set[int]) -> None:
        """Raises UserError if `bad` are too many, naming some of the last; they are kept then, to be listed."""
        if len(bad) > self.limit:
            self.bad |= bad
            some = sorted(last or bad)[:3]
            names = ", ".join(f"{id} ({self.reason(i)})" for i, id in zip(some, self._ids(some), strict=True))
            raise UserError(
                f"{len(bad)} pictures cannot be shown, more than data.max_bad_images = {self.limit}; among the last: "
                f"{names}; build the data set again with --check decode, or raise data.max_bad_images"
            )

    def reason(self, image: int) -> str:
        """Why an image is bad, in words."""
        if image not in self.reasons:
            self._look(np.array([image]), self.records.read(np.array([image])))
        return self.reasons.setdefault(image, NOT_DECODED)

    def _look(self, images: np.ndarray, pictures: list[np.ndarray]) -> None:
        byte, bit = images >> 3, np.left_shift(1, images & 7).astype(np.uint8)
        new = np.flatnonzero((self._looked[byte] & bit) == 0)
        for row, (height, width) in zip(new.tolist(), self.records.shapes(images[new]).tolist(), strict=True):
            if reason := fault(pictures[row], height, width):
                self._no_picture.add(int(images[row]))
                self.reasons[int(images[row])] = reason
        np.bitwise_or.at(self._looked, byte, bit)

    def _instead(self, row: int, image: int, decodes: Decodes, bad: set[int]) -> tuple[int, np.ndarray]:
        """The first image in line that can be shown, and its record; those before it are added to `bad`."""
        for candidate in self._line(image):
            (picture,) = pictures = self.records.read(np.array([candidate]))
            self._look(np.array([candidate]), pictures)
            doubtful = candidate in self._doubtful
            if candidate not in self._no_picture and not (doubtful and not decodes(row, candidate, picture)):
                return candidate, picture
            bad.add(candidate)
            self.check_limit(self.bad | bad, bad)
        raise UserError(
            f"picture {self._ids([image])[0]} cannot be shown ({self.reason(image)}), nor can any that could take its "
            "place; build the data set again"
        )

    def _line(self, image: int) -> Iterator[int]:
        """The image, and those that may take its place, in their order."""
        starts, images = self.members
        classes = self._classes(image)
        if not len(classes) or not self.within_class:
            size = len(self.records)
            yield from ((image + offset) % size for offset in range(size))
            return
        rarest = classes[np.argmin(starts[classes + 1] - starts[classes])]
        mates = images[starts[rarest] : starts[rarest + 1]]
        first = int(np.searchsorted(mates, image))
        yield from (int(mates[(first + offset) % len(mates)]) for offset in range(len(mates)))

    def _classes(self, image: int) -> np.ndarray:
        label = self.records.labels(np.array([image]))[0]
        return np.flatnonzero(label == 1) if np.ndim(label) else np.array([label])

    def _ids(self, images: list[int]) -> list[str]:
        return self.records.ids(np.array(images))
