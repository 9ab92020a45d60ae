"""What `fastlt build` wrote, to cut it anew, take a sample of it, or merge several."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet
from fastlt.data.sources._repeats import digests
from fastlt.data.sources._shard_sets import SPLITS, StoredSet, merged_attributes, merged_classes, require_one_kind
from fastlt.data.sources._stored_item import StoredItem, read_record
from fastlt.errors import UserError

CHUNK = 256  # images whose ids and labels are read at a time
UNKNOWN = -1


@dataclass(frozen=True)
class Part:
    """One split of one set."""

    position: int  # of the set
    split: str
    shards: ShardSet

    def ids(self) -> Iterator[str]:
        for rows in self.chunks():
            yield from self.shards.ids(rows)

    def chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.shards), CHUNK):
            yield np.arange(start, min(start + CHUNK, len(self.shards)))


class Source:
    """ROOT is a folder that holds train/ and perhaps val/ and test/.

    also: such a folder, or a list of them, appended to the first; classes are merged by name, in order of first
    appearance. In a set of several labels, a class that one of the sets does not have is unknown for its images. pool:
    train and val become train, so that validation is cut anew; else each split stays what it is.

    An id gets its set's position in front, from 0, if two sets share an id in a split, and with `pool` the name of
    its split if train and val share one.
    """

    name = "shards"
    default_recipe = Recipe()

    def __init__(self, root: Path, also: str | list[str] | None = None, pool: bool = False):
        if not isinstance(pool, bool):
            raise UserError(f"pool is {pool!r}; choose true or false")
        self._sets = [StoredSet(folder) for folder in _folders(root, also)]
        require_one_kind(self._sets)
        self._pool = pool
        self.multi_label = self._sets[0].multi_label
        self.label_default = min(s.label_default for s in self._sets)
        self.classes, self._places = merged_classes(self._sets)
        self._parts = self._arrange()
        self.splits = tuple(split for split in SPLITS if split in self._parts)
        self.default_val = 0.1 if pool else 0.0
        self.problems = self._missing_classes()
        self.attributes = merged_attributes(self._sets) if self._same_classes() else {}
        self._with_position, self._with_split = self._shared_ids()

    def items(self, split: str) -> Iterator[Item]:
        for part in self._parts[split]:
            prefix = f"{part.position}/" * self._with_position + f"{part.split}/" * self._with_split
            for rows in part.chunks():
                labels = self._labels(part, rows)
                for row, id, own in zip(rows.tolist(), part.shards.ids(rows), labels, strict=True):
                    yield StoredItem(prefix + id, partial(read_record, part.shards, row), *own)

    def describe(self) -> dict:
        return {"name": self.name, "pool": self._pool, "sets": [s.describe() for s in self._sets]}

    def _arrange(self) -> dict[str, list[Part]]:
        parts: dict[str, list[Part]] = {}
        for position, s in enumerate(self._sets):
            for split, shards in s.splits.items():
                target = "train" if self._pool and split == "val" else split
                parts.setdefault(target, []).append(Part(position, split, shards))
        return parts

    def _labels(self, part: Part, rows: np.ndarray) -> Iterator[tuple[tuple[int, ...], ...]]:
        """Positive, unknown and negative classes of each image, as an Item lists them."""
        place = self._places[part.position]
        if not self.multi_label:
            return (((c,), (), ()) for c in place[part.shards.labels(rows)].tolist())
        values = np.full((len(rows), len(self.classes)), UNKNOWN, np.int8)
        values[:, place] = part.shards.labels(rows)
        nothing = [()] * len(rows)
        unknown = _classes(values == UNKNOWN) if self.label_default == 0 else nothing
        negative = _classes(values == 0) if self.label_default == UNKNOWN else nothing
        return zip(_classes(values == 1), unknown, negative, strict=True)

    def _same_classes(self) -> bool:
        return all(s.classes == self.classes for s in self._sets)

    def _missing_classes(self) -> list[tuple[str, str]]:
        """What merging left open, for the user to know."""
        problems = []
        for s, place in zip(self._sets, self._places, strict=True):
            missing = np.setdiff1d(np.arange(len(self.classes)), place)
            if self.multi_label and missing.size:
                first = self.classes[missing[0]]
                said = f"{missing.size} classes of other sets ({first!r} ...) are unknown for its images"
                problems.append((str(s.folder), said))
            if s.attributes and not self._same_classes():
                problems.append((str(s.folder), "its groups of attributes are dropped: the sets have other classes"))
        return problems

    def _shared_ids(self) -> tuple[bool, bool]:
        """Whether different sets, and train and val of one, share an id in a split."""
        sets = splits = False
        for parts in self._parts.values():
            if len(parts) == 1:
                continue
            found = [np.unique(digests(part.ids())) for part in parts]
            for (a, ids), (b, others) in itertools.combinations(zip(parts, found, strict=True), 2):
                if np.intersect1d(ids, others, assume_unique=True).size:
                    sets, splits = sets or a.position != b.position, splits or a.position == b.position
        return sets, splits


def _classes(chosen: np.ndarray) -> list[tuple[int, ...]]:
    """For each row of bool [B, C] the classes that are chosen."""
    _, classes = np.nonzero(chosen)
    ends = np.cumsum(chosen.sum(1))[:-1]
    return [tuple(own.tolist()) for own in np.split(classes, ends)]


def _folders(root: Path, also: object) -> list[Path]:
    more = [] if also is None else also if isinstance(also, list) else [also]
    for folder in more:
        if not isinstance(folder, str | Path) or "\0" in str(folder):
            raise UserError(f"also is {folder!r}; give a folder that `fastlt build` wrote, or a list of them")
    folders = [root, *map(Path, more)]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"also names one folder twice, or {root} itself; give each set once")
    return folders
