"""One stream of a method: which images stand where, and what is drawn for them."""

from __future__ import annotations

import numpy as np

from fastlt import augment, hashing, streams
from fastlt.batch import StreamSpec
from fastlt.config import PipelineConfig

Drawn = dict[str, np.ndarray]  # what a recipe draws, by name


class Part:
    """All of it is a pure function of the position."""

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

    def draw(self, position: np.ndarray, index: np.ndarray) -> list[Drawn]:
        """For each view what is drawn where `index` are shown: with a row for each of these, int64 of any shape."""
        places, shapes = position.ravel(), self.records.shapes(index.ravel())
        drawn = [self._recipe.parameters(self.pipeline, key, places, shapes) for key in self.view_keys]
        return [{name: rows.reshape(*index.shape, *rows.shape[1:]) for name, rows in view.items()} for view in drawn]
