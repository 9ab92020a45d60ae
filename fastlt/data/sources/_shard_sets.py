"""Shard sets that are read as one: whether they fit together, and the classes of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlt.address import Address
from fastlt.data import manifest
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

SPLITS = ("train", "val", "test")


class StoredSet:
    """The splits that a build wrote into one folder.

    Raises UserError if there is no train among them, one is damaged, they hold copies, or are not of one data set.
    """

    def __init__(self, folder: Path | Address):
        self.folder = folder
        if not manifest.begun(folder / "train"):
            raise UserError(f"{folder} has no train that `fastlt build` wrote; give the folder that holds train/")
        self.splits = {split: ShardSet(folder / split) for split in SPLITS if manifest.begun(folder / split)}
        train = self.splits["train"]
        if train.manifest.get("balanced_attributes"):  # a copy in train and its original in val would not be told apart
            raise UserError(f"{folder} holds varied copies; read the data set that it was made from")
        self.classes, self.multi_label, self.name = train.classes, train.multi_label, train.manifest["name"]
        self.label_default: int = min(shards.manifest["label_default"] for shards in self.splits.values())
        self.attributes: dict[str, list[int]] = train.manifest.get("attributes", {})
        for split, shards in self.splits.items():
            if _kind(shards) != _kind(train) or shards.manifest["split"] != split:
                raise UserError(f"{folder / split} is not of the same data set as {train.folder}; build it again")

    def describe(self) -> dict:
        checksums = {split: manifest.seal(shards.manifest)["checksum"] for split, shards in self.splits.items()}
        return {"name": self.name, "manifests": checksums}


def _kind(shards: ShardSet) -> list:
    return [shards.classes, shards.multi_label, shards.manifest.get("attributes", {})]


def merged_classes(sets: list[StoredSet]) -> tuple[list[str], list[np.ndarray]]:
    """All class names in order of first appearance; and for each set, int64 [its C]: where its classes are there.

    Raises UserError if the names of a set do not tell its classes apart.
    """
    if all(s.classes == sets[0].classes for s in sets):
        return sets[0].classes, [np.arange(len(sets[0].classes))] * len(sets)
    place: dict[str, int] = {}
    for s in sets:
        if len(set(s.classes)) < len(s.classes):
            raise UserError(f"{s.folder} has two classes of one name, so that it cannot be merged by name")
        for name in s.classes:
            place.setdefault(name, len(place))
    return list(place), [np.array([place[name] for name in s.classes], np.int64) for s in sets]


def merged_attributes(sets: list[StoredSet]) -> dict[str, list[int]]:
    """Those of all sets, which have the same classes. Raises UserError if they group them in different ways."""
    groups = sets[0].attributes
    for s in sets[1:]:
        if s.attributes != groups:
            raise UserError(f"{s.folder} has other groups of attributes than {sets[0].folder}; they cannot be merged")
    return groups


def require_one_kind(sets: list[StoredSet]) -> None:
    """Raises UserError for one label an image here and several there."""
    for s in sets[1:]:
        if s.multi_label != sets[0].multi_label:
            single, multi = (sets[0], s) if s.multi_label else (s, sets[0])
            raise UserError(
                f"{single.folder} has one label an image, {multi.folder} has several; they cannot be merged"
            )
