"""What a data set holds, and what each stream makes of it: numbers only, drawn elsewhere."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastlt import hashing, streams
from fastlt.config import StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

SPLITS = ("train", "val", "test")
STREAMS = ("uniform", "class_balanced", "square_root", "effective_number", "reversed")
BLOCKS = 1000  # rounds through all classes over which a distribution is realised
MOST_POSITIONS = 250_000


@dataclass(frozen=True)
class Inspection:
    """`streams`: for each kind of stream the share of drawn images in which each class is positive, [C]."""

    name: str
    classes: list[str]
    multi_label: bool
    images: dict[str, int]  # by split
    counts: dict[str, list[int]]  # by split, images in which each class is positive
    groups: dict[str, list[str]]  # head, medium, tail ... -> class names
    imbalance: float  # largest over smallest count in training
    labels_per_image: float
    streams: dict[str, list[float]]

    def as_dict(self) -> dict:
        return asdict(self)


def inspect(path: Path, seed: int = 0) -> Inspection:
    """Looks at the data set in `path`, the folder that `fastlt build` wrote. Raises UserError if there is none."""
    with contextlib.ExitStack() as stack:
        present = [split for split in SPLITS if (path / split / "dataset.json").exists()]
        if "train" not in present:
            raise UserError(
                f"{path} holds no data set: there is no {path / 'train' / 'dataset.json'}; fastlt build makes one"
            )
        sets = {split: stack.enter_context(ShardSet(path / split)) for split in present}
        train = sets["train"]
        counts = train.counts[train.counts > 0]
        return Inspection(
            name=train.manifest["name"],
            classes=list(train.classes),
            multi_label=train.multi_label,
            images={split: len(records) for split, records in sets.items()},
            counts={split: records.counts.tolist() for split, records in sets.items()},
            groups=group_names(train.counts, train.groups, train.classes),
            imbalance=round(float(counts.max() / counts.min()), 2),
            labels_per_image=round(float(train.counts.sum() / len(train)), 4),
            streams={name: label_shares(train, name, seed).tolist() for name in STREAMS},
        )


def group_names(counts: np.ndarray, groups: dict, classes: list[str]) -> dict[str, list[str]]:
    """The classes of each group by its inclusive limits on training counts."""
    return {
        name: [c for c, n in zip(classes, counts, strict=True) if n >= low and (high is None or n <= high)]
        for name, (low, high) in groups.items()
    }


def label_shares(records: ShardSet, sampling: str, seed: int) -> np.ndarray:
    """float64 [C]: among the images that a stream draws, the share in which each class is positive.

    Realised over 1,000 rounds through the classes (or as many as a quarter of a million draws make).
    """
    members = records.class_members()
    stream = streams.build(StreamConfig(sampling=sampling), members, len(records), hashing.key(seed, "stream", "main"))
    positions = min(BLOCKS * int((records.counts > 0).sum()), MOST_POSITIONS)
    if sampling == "uniform":
        positions = -(-positions // len(records)) * len(records)  # whole epochs
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
