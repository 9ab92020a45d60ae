"""Which images of a source go into which split, decided from labels alone, before any picture is read."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastlt.attribute_balance import repeats
from fastlt.data.item import Item, Source, label_default
from fastlt.data.labels import LabelRows
from fastlt.data.longtail import Recipe, choose
from fastlt.data.partial import Hiding, hide
from fastlt.data.splits import carve
from fastlt.data.varied_copies import VariedCopy
from fastlt.errors import UserError
from fastlt.hashing import key


@dataclass(frozen=True)
class Plan:
    """The images of one split on disk."""

    split: str  # its name on disk
    origin: str  # the source's split that it is taken from
    chosen: np.ndarray  # bool [N]: which images of that split
    val: float  # share that was carved off for validation
    digest: str  # of all ids and labels, and of the choice
    label_default: int  # of classes that are not listed: 0 negative, -1 unknown
    hidden: LabelRows | None = None  # the labels of all images of the source's split, in place of its own
    copies: np.ndarray | None = None  # int64 [N]: varied copies of each image that follow it
    copy_key: int = 0

    def __len__(self) -> int:
        return int(self.chosen.sum()) + (0 if self.copies is None else int(self.copies.sum()))

    def items(self, source: Source) -> Iterator[Item]:
        for row, (item, chosen) in enumerate(zip(source.items(self.origin), self.chosen, strict=True)):
            if chosen:
                item = item if self.hidden is None else _with_labels(item, self.hidden, row)
                yield item
                for number in range(0 if self.copies is None else int(self.copies[row])):
                    copy = VariedCopy(item.image, key(self.copy_key, row, number))
                    yield replace(item, id=f"{item.id}#{number + 1}", image=copy)


def make_plans(
    source: Source,
    recipe: Recipe,
    seed: int,
    val: float | None,
    hiding: Hiding | None = None,
    balance_attributes: bool = False,
) -> tuple[list[Plan], list[str]]:
    """Plans for train, val and test, and warnings.

    Validation is carved from what the recipe leaves of the training images, so that it follows the same tail. Labels
    are hidden, and copies for the balance of attributes made, in `train` alone: what is measured on the others is
    measured with all that is known.
    Raises UserError for a class without an image (several labels: a warning) and for settings that the source excludes.
    """
    val = _val_share(source, val)
    if hiding and not source.multi_label:
        raise UserError(f"{source.name} has one label an image; only one of several labels can be hidden")
    labels, digest = _scan(source, "train")
    kept = choose(
        recipe, labels, source.multi_label, source.name, seed, lambda: [item.id for item in source.items("train")]
    )
    in_val = kept[carve(_only(labels, kept), val, seed)] if val else kept[:0]
    in_train = np.setdiff1d(kept, in_val, assume_unique=True)
    if not len(in_train):
        raise UserError(
            f"the recipe and the share for validation leave no training image of {source.name}; loosen them"
        )
    hidden = hide(hiding, labels, in_train, source.name, seed) if hiding else None
    if not source.multi_label:
        _require_images(source, labels.counts(), _only(labels, in_train).counts(), recipe)
    warnings = _empty_classes(source, _only(labels if hidden is None else hidden, in_train).counts())
    train = _plan(source, "train", "train", in_train, len(labels), val, digest)
    if hidden is not None:
        train = replace(train, hidden=hidden, label_default=hidden.default)
    if balance_attributes:
        copies = np.zeros(len(labels), np.int64)
        members = _only(labels if hidden is None else hidden, in_train).members()
        copies[in_train] = repeats(members, getattr(source, "attributes", {}), len(in_train)) - 1
        train = replace(train, copies=copies, copy_key=key("copies", source.name, seed))
    plans = [train]
    if len(in_val):
        plans.append(_plan(source, "val", "train", in_val, len(labels), val, digest))
    for split in source.splits[1:]:
        other, other_digest = _scan(source, split)
        plans.append(_plan(source, split, split, np.arange(len(other)), len(other), val, other_digest))
    return plans, warnings


def _with_labels(item: Item, labels: LabelRows, row: int) -> Item:
    entries = slice(labels.indptr[row], labels.indptr[row + 1])
    index, value = labels.index[entries], labels.value[entries]
    positive, negative, unknown = (tuple(index[value == wanted].tolist()) for wanted in (1, 0, -1))
    return replace(item, labels=positive, negative=negative, unknown=unknown)


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
        known = (item.id, item.labels, item.unknown, *([item.negative] if item.negative else []))
        digest.update(repr(known).encode("utf-8", "surrogateescape"))
        for classes, meaning in ((item.labels, 1), (item.unknown, -1), (item.negative, 0)):
            if classes:
                index.extend(classes)
                value.extend([meaning] * len(classes))
        indptr.append(len(index))
    if len(indptr) == 1:
        raise UserError(f"split {split} of {source.name} has no image")
    rows = LabelRows(
        np.frombuffer(indptr, np.int64),
        np.frombuffer(index, np.int32) if index else np.empty(0, np.int32),
        np.frombuffer(value, np.int8) if value else np.empty(0, np.int8),
        len(source.classes),
        label_default(source),
    )
    return rows, digest.hexdigest()


def _only(labels: LabelRows, rows: np.ndarray) -> LabelRows:
    """Rows of int64 [B], ascending; no copy where that is all of them."""
    return labels if len(rows) == len(labels) else labels.take(rows)


def _require_images(source: Source, before: np.ndarray, after: np.ndarray, recipe: Recipe) -> None:
    """Raises UserError for a class without an image before or after the recipe; both are int64 [C]."""
    for count, left, name in zip(before, after, source.classes, strict=True):
        if not count:
            raise UserError(f"class {name!r} has no image in the training split; add some or take the class out")
        if not left:
            raise UserError(f"recipe {recipe.name} leaves class {name!r} no training image; loosen it or take it out")


def _empty_classes(source: Source, counts: np.ndarray) -> list[str]:
    empty = [source.classes[c] for c in np.flatnonzero(counts == 0)]
    if not empty:
        return []
    shown = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
    return [f"{len(empty)} of {len(counts)} classes have no positive training image: {shown}"]


def _plan(source: Source, split: str, origin: str, rows: np.ndarray, total: int, val: float, digest: str) -> Plan:
    chosen = np.zeros(total, bool)
    chosen[rows] = True
    both = hashlib.sha256(digest.encode() + np.packbits(chosen).tobytes()).hexdigest()
    return Plan(split, origin, chosen, val, both, label_default(source))
