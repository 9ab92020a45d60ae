"""What `fastlt build` wrote, to cut it anew, take a sample of it, or merge several."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fastlt.address import Address, located
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet
from fastlt.data.sources._lines import shown
from fastlt.data.sources._overlap import id_digests, shared
from fastlt.data.sources._problems import Problems
from fastlt.data.sources._shard_sets import SPLITS, StoredSet, merged_attributes, merged_classes, require_one_kind
from fastlt.data.sources._stored_item import RecordReader, StoredItem
from fastlt.errors import UserError

CHUNK = 256  # images whose ids and labels are read at a time
UNKNOWN = -1
OVERLAP = ("fail", "drop", "keep")


@dataclass(frozen=True, eq=False)
class Part:
    """One split of one set."""

    position: int  # of the set
    split: str
    shards: ShardSet
    ids: np.ndarray  # uint64 [N]: digests, where several parts are to be compared
    left_out: np.ndarray  # int64, ascending: rows of pictures that another set is measured on

    def chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.shards), CHUNK):
            stop = min(start + CHUNK, len(self.shards))
            first, last = np.searchsorted(self.left_out, (start, stop))
            yield np.delete(np.arange(start, stop), self.left_out[first:last] - start)


class Source:
    """ROOT is a folder, or an address, that holds train/ and perhaps val/ and test/.

    also: such a folder, or a list of them, appended to the first; classes are merged by name, in order of first
    appearance. In a set of several labels, a class that one of the sets does not have is unknown for its images. pool:
    train and val become train, so that validation is cut anew; else each split stays what it is.

    An id gets its set's position in front, from 0, if two sets share an id in a split, and with `pool` the name of
    its split if train and val share one.

    overlap: what becomes of an image that one set trains on and another is measured on (or validated on, and the
    other tested on), known by its id or by the very bytes of its picture. `fail` refuses; `drop` leaves it out of the
    split that comes first of train, val and test; `keep` keeps both. Each is listed in `problems`.
    """

    name = "shards"
    default_recipe = Recipe()

    def __init__(
        self, root: Path | Address, also: str | list[str] | None = None, pool: bool = False, overlap: str = "fail"
    ):
        if not isinstance(pool, bool):
            raise UserError(f"pool is {pool!r}; choose true or false")
        if overlap not in OVERLAP:
            raise UserError(f"overlap is {overlap!r}; choose {', '.join(OVERLAP)}")
        self._sets = [StoredSet(folder) for folder in _folders(root, also)]
        require_one_kind(self._sets)
        self._pool = pool
        self.multi_label = self._sets[0].multi_label
        self.label_default = min(s.label_default for s in self._sets)
        self.classes, self._places = merged_classes(self._sets)
        parts = self._arrange()
        self.splits = tuple(split for split in SPLITS if split in parts)
        self.default_val = 0.1 if pool else 0.0
        self.problems = Problems()
        self._say_what_is_missing()
        self.attributes = merged_attributes(self._sets) if self._same_classes() else {}
        self._with_position, self._with_split = _shared_ids(parts)
        self._overlap = overlap
        self._parts = {
            split: [self._without_overlap(part, split, parts) for part in own] for split, own in parts.items()
        }

    def items(self, split: str) -> Iterator[Item]:
        for part in self._parts[split]:
            prefix = f"{part.position}/" * self._with_position + f"{part.split}/" * self._with_split
            read = RecordReader(part.shards)
            for rows in part.chunks():
                labels = self._labels(part, rows)
                for row, id, own in zip(rows.tolist(), part.shards.ids(rows), labels, strict=True):
                    yield StoredItem(prefix + id, partial(read, row), *own)

    def describe(self) -> dict:
        overlap = {"overlap": self._overlap} if len(self._sets) > 1 else {}
        return {"name": self.name, "pool": self._pool, **overlap, "sets": [s.describe() for s in self._sets]}

    def _arrange(self) -> dict[str, list[Part]]:
        parts: dict[str, list[Part]] = {}
        for position, s in enumerate(self._sets):
            for split, shards in s.splits.items():
                target = "train" if self._pool and split == "val" else split
                compared = len(self._sets) > 1 or (self._pool and target == "train")
                ids = id_digests(shards) if compared else np.empty(0, np.uint64)
                parts.setdefault(target, []).append(Part(position, split, shards, ids, np.empty(0, np.int64)))
        return parts

    def _without_overlap(self, part: Part, split: str, parts: dict[str, list[Part]]) -> Part:
        """The part with what is left out. Raises UserError if other sets are measured on its images and none may be."""
        left_out = part.left_out
        for later in SPLITS[SPLITS.index(split) :]:
            for other in parts.get(later, []):
                if other.position == part.position or (later == split and other.position < part.position):
                    continue
                rows = shared(part.shards, part.ids, other.shards, other.ids)
                if len(rows):
                    self._report(part, other, rows, later == split)
                if later != split and self._overlap == "drop":
                    left_out = np.union1d(left_out, rows)
        return replace(part, left_out=left_out)

    def _report(self, part: Part, other: Part, rows: np.ndarray, same_split: bool) -> None:
        here, there = part.shards.folder, other.shards.folder
        if same_split:
            self.problems.append(
                (str(here), f"{len(rows)} of its images have the id or the picture of one in {there}; both are kept")
            )
            return
        if self._overlap == "fail":
            raise UserError(
                f"{len(rows)} images of {here}, such as {shown(part.shards.ids(rows[:1])[0])}, have the id or the "
                f"picture of one in {there}; --option overlap=drop leaves the former out, overlap=keep keeps both"
            )
        fate = "it is left out" if self._overlap == "drop" else "both are kept"
        for start in range(0, len(rows), CHUNK):
            for id in part.shards.ids(rows[start : start + CHUNK]):
                self.problems.append((f"{here} image {id}", f"has the id or the picture of one in {there}; {fate}"))

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

    def _say_what_is_missing(self) -> None:
        for s, place in zip(self._sets, self._places, strict=True):
            missing = np.setdiff1d(np.arange(len(self.classes)), place)
            if self.multi_label and missing.size:
                first = self.classes[missing[0]]
                said = f"{missing.size} classes of other sets ({first!r} ...) are unknown for its images"
                self.problems.append((str(s.folder), said))
            if s.attributes and not self._same_classes():
                said = "its groups of attributes are dropped: the sets have other classes"
                self.problems.append((str(s.folder), said))


def _shared_ids(parts: dict[str, list[Part]]) -> tuple[bool, bool]:
    """Whether different sets, and train and val of one, share an id in a split."""
    sets = splits = False
    for a, b in itertools.chain.from_iterable(itertools.combinations(own, 2) for own in parts.values()):
        if np.isin(a.ids, b.ids).any():
            sets, splits = sets or a.position != b.position, splits or a.position == b.position
    return sets, splits


def _classes(chosen: np.ndarray) -> list[tuple[int, ...]]:
    """For each row of bool [B, C] the classes that are chosen."""
    _, classes = np.nonzero(chosen)
    ends = np.cumsum(chosen.sum(1))[:-1]
    return [tuple(own.tolist()) for own in np.split(classes, ends)]


def _folders(root: Path | Address, also: object) -> list[Path | Address]:
    more = [] if also is None else also if isinstance(also, list) else [also]
    for folder in more:
        if not isinstance(folder, str | Path) or "\0" in str(folder):
            raise UserError(f"also is {folder!r}; give a folder that `fastlt build` wrote, or a list of them")
    folders = [root, *map(located, more)]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"also names one folder twice, or {root} itself; give each set once")
    return folders
