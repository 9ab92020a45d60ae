"""What a data set holds, and what each stream makes of it: numbers only, drawn elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastlt import hashing, streams
from fastlt.address import Address
from fastlt.config import StreamConfig
from fastlt.data.labels import LabelRows
from fastlt.data.manifest import present_splits
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

STREAMS = ("uniform", "class_balanced", "square_root", "effective_number", "reversed")
BLOCKS = 1000  # rounds through all classes over which a distribution is realised
MOST_POSITIONS = 250_000
MOST_ENTRIES = 1 << 20  # label entries, and rows, that are looked at together: memory stays small for any set
MOST_ROWS = 1 << 14


@dataclass(frozen=True)
class Inspection:
    """`streams`: for each kind of stream the share of drawn images in which each class is positive, [C].

    `unknown`: by split, images in which nobody knows the label of each class; empty where every label is known.
    """

    name: str
    classes: list[str]
    multi_label: bool
    images: dict[str, int]  # by split
    counts: dict[str, list[int]]  # by split, images in which each class is positive
    groups: dict[str, list[str]]  # head, medium, tail ... -> class names
    imbalance: float  # largest over smallest count in training
    labels_per_image: float
    streams: dict[str, list[float]]
    unknown: dict[str, list[int]]
    checks: dict[str, str | bool]  # how its pictures were checked; empty where an earlier version built it

    def as_dict(self) -> dict:
        return asdict(self)


def inspect(path: Path | Address, seed: int = 0) -> Inspection:
    """Looks at the data set in `path`, the folder that `fastlt build` wrote. Raises UserError if there is none."""
    with contextlib.ExitStack() as stack:
        sets = {split: stack.enter_context(ShardSet(path / split)) for split in present_splits(path)}
        train = sets["train"]
        counts = train.counts[train.counts > 0]
        if not counts.size:
            raise UserError(f"{path / 'train'} has no image with a positive label, so there is no tail to look at")
        return Inspection(
            name=train.manifest["name"],
            classes=list(train.classes),
            multi_label=train.multi_label,
            images={split: len(records) for split, records in sets.items()},
            counts={split: records.counts.tolist() for split, records in sets.items()},
            groups=group_names(train.counts, train.groups, train.classes),
            imbalance=round(float(counts.max() / counts.min()), 2),
            labels_per_image=round(float(train.counts.sum() / len(train)), 4),
            streams={name: label_shares(train, name, seed).tolist() for name in _fitting_streams(train)},
            unknown=_unknown(sets),
            checks=train.manifest.get("checks", {}),
        )


def _unknown(sets: dict[str, ShardSet]) -> dict[str, list[int]]:
    """By split the images whose label of each class is unknown, or {} if that is no image of any split."""
    found = {split: unknown_counts(label_rows(records)) for split, records in sets.items() if records.multi_label}
    return {split: counts.tolist() for split, counts in found.items()} if any(map(np.any, found.values())) else {}


def label_rows(records: ShardSet) -> LabelRows:
    """All labels of a split, compressed."""
    return records.label_rows


def parts(labels: LabelRows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """A few rows at a time: (row within the part, class, value), one each an entry, and the number of rows."""
    start = 0
    while start < len(labels):
        fitting = int(np.searchsorted(labels.indptr, labels.indptr[start] + MOST_ENTRIES, side="right")) - 1
        stop = min(max(fitting, start + 1), start + MOST_ROWS, len(labels))
        first, last = labels.indptr[start], labels.indptr[stop]
        row = np.repeat(np.arange(stop - start), np.diff(labels.indptr[start : stop + 1]))
        yield row, labels.index[first:last], labels.value[first:last], stop - start
        start = stop


def unknown_counts(labels: LabelRows) -> np.ndarray:
    """int64 [C]: images in which the label of each class is unknown."""
    stated, unknown = np.zeros((2, labels.classes), np.int64)
    for _, classes, values, _ in parts(labels):
        stated += np.bincount(classes, minlength=labels.classes)
        unknown += np.bincount(classes[values == -1], minlength=labels.classes)
    return unknown if labels.default == 0 else unknown + len(labels) - stated


def co_occurrence(labels: LabelRows, chosen: np.ndarray) -> np.ndarray:
    """int64 [K, K]: images in which both of two of the `chosen` classes [K] are positive; on the diagonal, one."""
    size = len(chosen)
    place = np.full(labels.classes, -1, np.int64)
    place[chosen] = np.arange(size)
    both = np.zeros(size * size, np.int64)
    for row, classes, values, _ in parts(labels):
        kept = (values == 1) & (place[classes] >= 0)
        both += np.bincount(_pairs(row[kept], place[classes[kept]], size), minlength=size * size)
    both = both.reshape(size, size)
    return both + both.T - np.diag(both.diagonal())  # every pair stands on one side of the diagonal


def _pairs(row: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """int64: place * size + place for every entry with itself and each later entry of its row; rows ascend."""
    found, apart = [place * (size + 1)], 1
    while (same := np.flatnonzero(row[apart:] == row[:-apart])).size:
        found.append(place[same] * size + place[same + apart])
        apart += 1
    return np.concatenate(found)


def attribute_states(labels: LabelRows, attributes: dict[str, list[int]]) -> dict[str, dict[str, int]]:
    """For each attribute the images in which it is `unknown` (no value positive, not all of them negative) or `none`
    (every value negative).
    """
    group = np.full(labels.classes, -1, np.int64)
    for number, values in enumerate(attributes.values()):
        group[values] = number
    sizes = np.array([len(values) for values in attributes.values()], np.int64)
    unknown, none = np.zeros((2, len(sizes)), np.int64)
    for row, classes, values, rows in parts(labels):
        positive, negative = (_by_group(row, group[classes], values == v, rows, len(sizes)) for v in (1, 0))
        if labels.default == 0:
            negative = sizes - positive - _by_group(row, group[classes], values == -1, rows, len(sizes))
        unknown += ((positive == 0) & (negative < sizes)).sum(axis=0)
        none += ((positive == 0) & (negative == sizes)).sum(axis=0)
    return {name: {"unknown": int(u), "none": int(n)} for name, u, n in zip(attributes, unknown, none, strict=True)}


def _by_group(row: np.ndarray, group: np.ndarray, wanted: np.ndarray, rows: int, groups: int) -> np.ndarray:
    """int64 [rows, groups]: the wanted entries of each row whose class is in each group."""
    wanted = wanted & (group >= 0)
    return np.bincount(row[wanted] * groups + group[wanted], minlength=rows * groups).reshape(rows, groups)


def group_names(counts: np.ndarray, groups: dict, classes: list[str]) -> dict[str, list[str]]:
    """The classes of each group by its inclusive limits on training counts."""
    return {
        name: [c for c, n in zip(classes, counts, strict=True) if n >= low and (high is None or n <= high)]
        for name, (low, high) in groups.items()
    }


def _fitting_streams(records: ShardSet) -> tuple[str, ...]:
    return (*STREAMS, "attribute_balanced") if records.attributes else STREAMS


def label_shares(records: ShardSet, sampling: str, seed: int) -> np.ndarray:
    """float64 [C]: among the images that a stream draws, the share in which each class is positive.

    Realised over 1,000 rounds through the classes (or as many as a quarter of a million draws make).
    """
    members = records.class_members()
    key = hashing.key(seed, "stream", "main")
    stream = streams.build(StreamConfig(sampling=sampling), members, len(records), key, records.attributes)
    positions = min(BLOCKS * int((records.counts > 0).sum()), MOST_POSITIONS)
    if sampling in ("uniform", "attribute_balanced"):
        positions = -(-positions // stream.epoch_length) * stream.epoch_length  # whole epochs
    return realised_shares(stream, members, len(records), positions)


def realised_shares(
    stream: streams.Stream, members: tuple[np.ndarray, np.ndarray], size: int, positions: int
) -> np.ndarray:
    """float64 [C]: the share of the first `positions` draws in which each class is positive."""
    drawn = np.zeros(size, np.int64)
    for start in range(0, positions, streams.CHUNK):
        drawn += np.bincount(stream.indices(start, min(streams.CHUNK, positions - start)), minlength=size)
    starts, images = members
    running = np.concatenate([[0], np.cumsum(drawn[images])])
    return (running[starts[1:]] - running[starts[:-1]]) / positions
