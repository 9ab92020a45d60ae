"""Which images of a source go into which split, decided from labels alone, before any picture is read."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastlt.data.item import Item, Source
from fastlt.data.labels import LabelRows
from fastlt.data.longtail import Recipe, choose
from fastlt.data.splits import carve
from fastlt.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The images of one split on disk."""

    split: str  # its name on disk
    origin: str  # the source's split that it is taken from
    chosen: np.ndarray  # bool [N]: which images of that split
    val: float  # share that was carved off for validation
    digest: str  # of all ids and labels, and of the choice

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def items(self, source: Source) -> Iterator[Item]:
        for item, chosen in zip(source.items(self.origin), self.chosen, strict=True):
            if chosen:
                yield item


def make_plans(source: Source, recipe: Recipe, seed: int, val: float | None) -> tuple[list[Plan], list[str]]:
    """Plans for train, val and test, and warnings.

    Validation is carved from what the recipe leaves of the training images, so that it follows the same tail.
    Raises UserError for a class without an image (several labels: a warning) and for settings that the source excludes.
    """
    val = _val_share(source, val)
    if source.multi_label and recipe.name != "none":
        raise UserError(f"recipe {recipe.name} needs one label an image, {source.name} has several; use recipe none")
    labels, digest = _scan(source, "train")
    kept = choose(recipe, labels, source.name, seed)
    in_val = kept[carve(labels.take(kept), val, seed)] if val else kept[:0]
    in_train = np.setdiff1d(kept, in_val, assume_unique=True)
    warnings = _check_classes(source, labels.take(in_train).counts())
    plans = [_plan("train", "train", in_train, len(labels), val, digest)]
    if len(in_val):
        plans.append(_plan("val", "train", in_val, len(labels), val, digest))
    for split in source.splits[1:]:
        other, other_digest = _scan(source, split)
        plans.append(_plan(split, split, np.arange(len(other)), len(other), val, other_digest))
    return plans, warnings


def _val_share(source: Source, val: float | None) -> float:
    if "val" in source.splits:
        if val:
            raise UserError(f"{source.name} brings its own val split; leave the share {val:g} for validation out")
        return 0.0
    share = source.default_val if val is None else val
    if not 0 <= share < 1:
        raise UserError(f"the share for validation is {share:g}; it must be at least 0 and below 1")
    return share


def _scan(source: Source, split: str) -> tuple[LabelRows, str]:
    """Labels of every image, and a digest of ids and labels."""
    digest = hashlib.sha256()
    indptr, index, value = array("q", [0]), array("i"), array("b")
    for item in source.items(split):
        digest.update(repr((item.id, item.labels, item.unknown)).encode("utf-8", "surrogateescape"))
        index.extend(item.labels + item.unknown)
        value.extend([1] * len(item.labels) + [-1] * len(item.unknown))
        indptr.append(len(index))
    if len(indptr) == 1:
        raise UserError(f"split {split} of {source.name} has no image")
    rows = LabelRows(
        np.array(indptr, np.int64), np.array(index, np.int32), np.array(value, np.int8), len(source.classes)
    )
    return rows, digest.hexdigest()


def _check_classes(source: Source, counts: np.ndarray) -> list[str]:
    empty = [source.classes[c] for c in np.flatnonzero(counts == 0)]
    if not empty:
        return []
    if not source.multi_label:
        raise UserError(f"class {empty[0]!r} has no image in the training split; add some or take the class out")
    shown = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
    return [f"{len(empty)} of {len(counts)} classes have no positive training image: {shown}"]


def _plan(split: str, origin: str, rows: np.ndarray, total: int, val: float, digest: str) -> Plan:
    chosen = np.zeros(total, bool)
    chosen[rows] = True
    both = hashlib.sha256(digest.encode() + np.packbits(chosen).tobytes()).hexdigest()
    return Plan(split, origin, chosen, val, both)
