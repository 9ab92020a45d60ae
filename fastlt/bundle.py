"""The streams that one graph serves, as one: a rank's rows of all of them, stream after stream, for many steps at once.

So a step of several streams is read by one call into one buffer and costs about what a step of a single one does.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from fastlt import streams
from fastlt.part import Drawn, Part

AT_ONCE = 4096  # positions of a stream over all ranks: for a single batch numpy's calls would cost more than their work


class Rows(NamedTuple):
    """A step: n positions (int64), the images that belong there (int64), and the m rows drawn, one for each view."""

    position: np.ndarray
    wanted: np.ndarray
    drawn: Drawn


class Bundle:
    """Stream after stream, and of each view after view; a pure function of the step, however many are made together.

    `views`: int64 [m], which of the n images each picture of the graph's batch shows.
    """

    def __init__(self, parts: list[Part], rank: int, ranks: int) -> None:
        """`parts` are of one pipeline."""
        self.parts, self.pipeline = parts, parts[0].pipeline
        self._rank, self._ranks = rank, ranks
        self._sizes = [part.batch // ranks for part in parts]
        ends = np.cumsum(self._sizes).tolist()
        self._own = [slice(end - size, end) for end, size in zip(ends, self._sizes, strict=True)]
        self._part_of = [part for part, size in zip(parts, self._sizes, strict=True) for _ in range(size)]
        each = zip(parts, self._own, strict=True)
        self.views = np.concatenate([np.tile(np.r_[own], part.spec.views) for part, own in each])
        self.has_views = any(part.spec.views > 1 for part in parts)
        self._steps = max(1, AT_ONCE // max(part.batch for part in parts))
        self._blocks: dict[int, list[Rows]] = {}
        self._lock = threading.Lock()

    def rows(self, step: int) -> Rows:
        """What the step holds; any thread may ask."""
        number = step // self._steps
        with self._lock:
            if number not in self._blocks:
                while len(self._blocks) > 1:
                    self._blocks.pop(next(iter(self._blocks)), None)
                self._blocks[number] = self._block(number * self._steps)
            return self._blocks[number][step - number * self._steps]

    def wanted(self, step: int) -> np.ndarray:
        """int64 [n]: the images of a step, without what is drawn."""
        places = [streams.rank_part(step, part.batch, self._rank, self._ranks) for part in self.parts]
        return np.concatenate([part.stream.indices(*place) for part, place in zip(self.parts, places, strict=True)])

    def draw(self, position: np.ndarray, index: np.ndarray) -> Drawn:
        """What is drawn where `index` (int64 [n]) are shown; or [s, n], for s steps."""
        each = zip(self.parts, self._own, strict=True)
        drawn = [view for part, own in each for view in part.draw(position[..., own], index[..., own])]
        return {name: np.concatenate([view[name] for view in drawn], index.ndim - 1) for name in drawn[0]}

    def draw_at(self, row: int, position: int, image: int) -> list[Drawn]:
        """What each view draws for one image, if it is shown in that row of the n."""
        return self._part_of[row].draw(np.array([position]), np.array([image]))

    def by_stream(self, rows: Any) -> dict[str, Any]:
        """What belongs to each stream of a tensor or an array [n, ...]."""
        return {part.name: rows[own] for part, own in zip(self.parts, self._own, strict=True)}

    def views_by_stream(self, rows: Tensor) -> dict[str, Tensor]:
        """[m, ...] likewise; [k, b, ...] of a stream with k views."""
        found, end = {}, 0
        for part, size in zip(self.parts, self._sizes, strict=True):
            begin, end = end, end + part.spec.views * size
            found[part.name] = rows[begin:end].unflatten(0, (-1, size)) if part.spec.views > 1 else rows[begin:end]
        return found

    def _block(self, first: int) -> list[Rows]:
        found = [self._places(part, first) for part in self.parts]
        position, wanted = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
        drawn = self.draw(position, wanted)
        names = drawn.keys()
        steps = zip(position, wanted, *drawn.values(), strict=True)
        return [Rows(at, images, dict(zip(names, rows, strict=True))) for at, images, *rows in steps]

    def _places(self, part: Part, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and images of a stream in a block of steps, int64 [steps, b] each."""
        start, size = streams.rank_part(0, part.batch, self._rank, self._ranks)
        begin, count = first * part.batch, self._steps * part.batch
        arrays = np.arange(begin, begin + count), part.stream.indices(begin, count)
        return tuple(array.reshape(self._steps, part.batch)[:, start : start + size] for array in arrays)


def by_graph(parts: list[Part], rank: int, ranks: int) -> list[Bundle]:
    """Streams of one pipeline share a graph."""
    found: list[list[Part]] = []
    for part in parts:
        same = next((known for known in found if known[0].pipeline == part.pipeline), None)
        if same is None:
            found.append([part])
        else:
            same.append(part)
    return [Bundle(same, rank, ranks) for same in found]
