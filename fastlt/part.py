"""A rank's share of one stream: which images stand where, and what is drawn for them, for many steps at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlt import augment, hashing, streams
from fastlt.batch import StreamSpec
from fastlt.config import PipelineConfig

AT_ONCE = 4096  # positions over all ranks: for a single batch numpy's calls would cost more than their work

Drawn = list[dict[str, np.ndarray]]  # for each view what its recipe draws, by name


class Rows(NamedTuple):
    """A step: b positions (int64), the images that belong there (int64), and what is drawn for these."""

    position: np.ndarray
    wanted: np.ndarray
    drawn: Drawn


class Part:
    """All of it is a pure function of the step; only how much is worked out together is not."""

    def __init__(
        self, name: str, spec: StreamSpec, default: PipelineConfig, records, members, batch: int, seed: int
    ) -> None:
        """`records` and their `members` as for the loader, of which `batch` is the batch over all ranks."""
        key = hashing.key(seed, "stream", name)
        stream = streams.build(spec.stream, members, len(records), key, records.attributes)
        if spec.then:
            key = hashing.key(seed, "stream", name, "then")
            stream = streams.Switched(stream, streams.build(spec.then, members, len(records), key, records.attributes))
        self.name, self.spec, self.stream, self.records = name, spec, stream, records
        self.pipeline = spec.pipeline or default
        self.batch = round(batch * spec.batch_share)  # over all ranks
        self.view_keys = tuple(hashing.key(seed, "augment", name, view) for view in range(spec.views))
        self._recipe = augment.load(self.pipeline.name)
        self._blocks: dict[int, list[Rows]] = {}

    def rows(self, step: int, rank: int, ranks: int) -> Rows:
        """`rank` and `ranks` are always the same."""
        steps = max(1, AT_ONCE // self.batch)
        number = step // steps
        if number not in self._blocks:
            while len(self._blocks) > 1:
                self._blocks.pop(next(iter(self._blocks)), None)
            self._blocks[number] = self._block(number * steps, steps, rank, ranks)
        return self._blocks[number][step - number * steps]

    def wanted(self, step: int, rank: int, ranks: int) -> np.ndarray:
        """int64 [b]: the images of a step, without what is drawn."""
        return self.stream.indices(*streams.rank_part(step, self.batch, rank, ranks))

    def draw(self, position: np.ndarray, index: np.ndarray) -> Drawn:
        """What is drawn where `index` (int64 [b]) are shown."""
        shapes = self.records.shapes(index)
        return [self._recipe.parameters(self.pipeline, key, position, shapes) for key in self.view_keys]

    def _block(self, first: int, steps: int, rank: int, ranks: int) -> list[Rows]:
        start, share = streams.rank_part(0, self.batch, rank, ranks)
        own = slice(start, start + share)
        position = np.arange(first * self.batch, (first + steps) * self.batch)
        wanted = self.stream.indices(first * self.batch, steps * self.batch)
        position, wanted = (array.reshape(steps, self.batch)[:, own].ravel() for array in (position, wanted))
        drawn = self.draw(position, wanted)
        each = [slice(k * share, (k + 1) * share) for k in range(steps)]
        return [
            Rows(position[at], wanted[at], [{name: rows[at] for name, rows in view.items()} for view in drawn])
            for at in each
        ]
