"""Known labels hidden, to study partial annotation where all labels are known.

Ben-Baruch et al., "Multi-label classification with partial annotations using class-aware selective loss", CVPR 2022,
section 4.1: RPS (random per sample) and FPC (fixed per class).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fastlt.data.labels import LabelRows
from fastlt.errors import UserError
from fastlt.hashing import key, permute, shuffled, uniform

CELLS = 1 << 24  # of [rows, classes] looked at together


@dataclass(frozen=True)
class Hiding:
    """rps: every label becomes unknown with probability `amount`, on its own. fpc: of every class at most `amount`
    random positives and `amount` random negatives stay known, all others become unknown."""

    name: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Hiding:
        """From rps:0.5 or fpc:1000. Raises UserError."""
        name, _, amount = text.partition(":")
        try:
            found = cls(name, float(amount))
        except ValueError:
            found = cls(name, float("nan"))
        fitting = {"rps": 0 < found.amount < 1, "fpc": 1 <= found.amount < 1e15 and found.amount.is_integer()}
        if not fitting.get(name, False):
            raise UserError(f"hidden labels {text!r}: write rps:SHARE with 0 < SHARE < 1, or fpc:NUMBER, at least 1")
        return found

    def describe(self) -> dict:
        return asdict(self)


def hide(hiding: Hiding, labels: LabelRows, rows: np.ndarray, dataset: str, seed: int) -> LabelRows:
    """The same labels with some of those of `rows` (int64, ascending) unknown; other rows are not to be used.

    Which depends on (hiding, dataset, seed) and the places of `rows` alone. What is unknown already stays so.
    """
    parts = ("partial", dataset, hiding.name, f"{hiding.amount:g}", seed)
    if hiding.name == "rps":
        return _hide_each(labels, rows, hiding.amount, key(*parts))
    return _spread(_keep_few(labels.take(rows), int(hiding.amount), parts), rows, len(labels))


def _hide_each(labels: LabelRows, rows: np.ndarray, share: float, seed_key: int) -> LabelRows:
    """Each label by a hash of its own place, so a row's do not depend on which others there are."""
    if labels.default == -1:  # what is listed is all that is known
        row, place = labels.entries(rows)
        stays = uniform(seed_key, rows[row] * labels.classes + labels.index[place]) >= share
        row, place = row[stays], place[stays]
        found = _from_entries(row, labels.index[place], labels.value[place], len(rows), labels.classes)
        return _spread(found, rows, len(labels))
    default, step = (-1 if share > 0.5 else 0), max(1, CELLS // labels.classes)
    parts = []
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        cell = some[:, None] * labels.classes + np.arange(labels.classes)
        dense = np.where(uniform(seed_key, cell) < share, np.int8(-1), labels.dense(some))
        parts.append(_sparse(dense, default))
    return _spread(_joined(parts, labels.classes, default), rows, len(labels))


def _spread(found: LabelRows, rows: np.ndarray, size: int) -> LabelRows:
    """Row i of `found` at place rows[i] of `size`; nothing in between."""
    lengths = np.zeros(size, np.int64)
    lengths[rows] = np.diff(found.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return LabelRows(indptr, found.index, found.value, found.classes, found.default)


def _keep_few(labels: LabelRows, keep: int, parts: tuple) -> LabelRows:
    """Known labels are few, so only they are listed."""
    order = np.argsort(labels.index, kind="stable")
    row = np.repeat(np.arange(len(labels)), np.diff(labels.indptr))[order]
    value, starts = labels.value[order], np.searchsorted(labels.index[order], np.arange(labels.classes + 1))
    rows, classes, values = [], [], []
    for c in range(labels.classes):
        listed, state = (array[starts[c] : starts[c + 1]] for array in (row, value))
        positive = _drawn(listed[state == 1], keep, key(*parts, c, "positive"))
        negative_key = key(*parts, c, "negative")
        if labels.default == 0:
            negative = _drawn_outside(listed, len(labels), keep, negative_key)
        else:
            negative = _drawn(listed[state == 0], keep, negative_key)
        rows += [positive, negative]
        classes += [np.full(len(positive) + len(negative), c)]
        values += [np.ones(len(positive), np.int8), np.zeros(len(negative), np.int8)]
    return _from_entries(*map(np.concatenate, (rows, classes, values)), len(labels), labels.classes)


def _drawn(rows: np.ndarray, keep: int, seed_key: int) -> np.ndarray:
    return rows[shuffled(seed_key, len(rows))[:keep]]


def _drawn_outside(listed: np.ndarray, size: int, keep: int, seed_key: int) -> np.ndarray:
    """`keep` of the rows below `size` that are not listed, or all of them."""
    drawn = permute(seed_key, np.arange(min(size, keep + len(listed))), size)
    return drawn[~np.isin(drawn, listed)][:keep]


def _from_entries(rows: np.ndarray, classes: np.ndarray, values: np.ndarray, size: int, width: int) -> LabelRows:
    order = np.lexsort((classes, rows))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))]).astype(np.int64)
    return LabelRows(indptr, classes[order].astype(np.int32), values[order], width, -1)


def _sparse(dense: np.ndarray, default: int) -> LabelRows:
    row, column = np.nonzero(dense != default)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))]).astype(np.int64)
    return LabelRows(indptr, column.astype(np.int32), dense[row, column], dense.shape[1], default)


def _joined(parts: list[LabelRows], classes: int, default: int) -> LabelRows:
    lengths = np.concatenate([np.diff(part.indptr) for part in parts] or [np.empty(0, np.int64)])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = np.concatenate([part.index for part in parts])
    return LabelRows(indptr, index, np.concatenate([part.value for part in parts]), classes, default)
