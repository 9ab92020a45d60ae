"""Kernels of the contrastive losses, and the sums that all losses share. The truth is numpy in float64."""

from __future__ import annotations

import numpy as np

from .bench import Bench
from .entries import upstream_of
from .structures import Tile, Upstream


def _log_sum_exp(z: np.ndarray) -> np.ndarray:
    top = z.max(1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(1, keepdims=True)))[:, 0]


def _matrix(bench: Bench) -> np.ndarray:
    """[rows, columns]; the last row is zero."""
    x = bench.normal(bench.shape.rows, bench.shape.columns)
    x[-1] = 0
    return x


def _inverse_norms(x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1)
    return np.where(norms > 0, 1 / np.where(norms > 0, norms, 1), 0)


# ---- norms and projections


def normalise_rows(bench: Bench) -> None:
    x = _matrix(bench)
    target = bench.want("unit", x * _inverse_norms(x)[:, None])
    given = bench.give(x, bench.name.type)
    bench.launch(len(x), bench.row_block(x.shape[1]), given, x.shape[1], target)


def inverse_norm_rows(bench: Bench) -> None:
    x = _matrix(bench)
    given, target = bench.give(x), bench.want("inverse", 10 * _inverse_norms(x))
    bench.launch(len(x), bench.row_block(x.shape[1]), given, x.shape[1], 10.0, target)


def project_rows(bench: Bench) -> None:
    x, over_norm = _matrix(bench), bool(bench.shape.dressed)
    g = bench.random.standard_normal(x.shape).astype(np.float32).astype(np.float64)
    inverse = _inverse_norms(x)[:, None]
    truth = g - (g * x).sum(1, keepdims=True) * x * inverse**2
    truth = np.where(inverse > 0, truth, 0) * (inverse if over_norm else 1)
    given, gradient = bench.give(x, bench.name.type), bench.give(g)
    target = bench.want("projected", truth, bench.name.type)
    bench.launch(len(x), bench.row_block(x.shape[1]), given, gradient, x.shape[1], over_norm, target)


# ---- losses on a tile of dot products


def _tile(bench: Bench, dots, truth, labels: np.ndarray, losses: np.ndarray, upstream: Upstream) -> Tile:
    """All rows of the batch are in the tile."""
    tile = Tile(dots=bench.in_place("dots", dots, truth), columns=dots.shape[1], labels=bench.give(labels))
    tile.loss, tile.upstream, tile.gradient = bench.want("loss", losses), upstream, True
    return tile


def prototype_rows(bench: Bench) -> None:
    rows, classes, whole = bench.shape.rows, bench.shape.columns, bool(bench.shape.dressed) or bench.shape.columns == 1
    dots, labels = bench.normal(rows, classes), bench.random.integers(0, classes, rows)
    scale = bench.random.uniform(1, 5, classes).astype(np.float32).astype(np.float64)
    upstream, of_rows = upstream_of(bench)
    own = np.arange(classes) == labels[:, None]
    z = np.where(own & (not whole), -np.inf, dots * scale)
    lse = _log_sum_exp(z)
    losses = lse - (dots * scale)[own]
    truth = (np.exp(z - lse[:, None]) - own) * scale * of_rows[:, None]
    tile = _tile(bench, dots, truth, labels, losses, upstream)
    bench.launch(rows, bench.row_block(classes), tile, bench.give(scale), whole)


def supervised_rows(bench: Bench) -> None:
    """The tile's columns are the batch: rows is how many of them are anchors here."""
    rows, batch = min(bench.shape.rows, bench.shape.columns), bench.shape.columns
    dots, labels = bench.normal(rows, batch), bench.random.integers(0, max(batch // 3, 2), batch)
    labels[0] = 999  # an anchor without a positive
    upstream, of_rows = upstream_of(bench)
    of_rows = of_rows[:rows]
    inverse_temperature = 4.0
    itself = np.arange(batch) == np.arange(rows)[:, None]
    positive = (labels[:rows, None] == labels) & ~itself
    count = positive.sum(1)
    z = np.where(itself, -np.inf, dots * inverse_temperature)
    lse = _log_sum_exp(z) if batch > 1 else np.zeros(rows)
    share = np.where(count > 0, 1 / np.maximum(count, 1), 0)
    losses = np.where(count > 0, lse - np.where(positive, z, 0).sum(1) * share, 0)
    slope = np.exp(z - lse[:, None]) - positive * share[:, None]
    truth = np.where((count > 0)[:, None] & ~itself, slope * inverse_temperature * of_rows[:, None], 0)
    tile = _tile(bench, dots, truth, labels, losses, upstream)
    bench.launch(rows, bench.row_block(batch), tile, inverse_temperature)


def anchor_rows(bench: Bench) -> None:
    count = bench.shape.columns
    rows = min(bench.shape.rows, count)  # blocks beyond these do the same
    labels = bench.random.integers(0, max(count // 2, 1), count)
    others = (labels[:rows, None] == labels).sum(1) - 1
    given, target = bench.give(labels), bench.want("has_positive", (others > 0).astype(float))
    bench.launch(rows, bench.row_block(count), given, count, target)


# ---- sums


def sum_rows(bench: Bench) -> None:
    (reciprocal,) = bench.name.flags
    rows, factor = np.abs(bench.normal(bench.shape.columns)), 0.5
    on_device = 3.0 if bench.shape.dressed and not reciprocal else None
    truth = 1 / max(rows.sum(), 1) if reciprocal else rows.sum() * factor * (on_device or 1)
    given, target = bench.give(rows), bench.want("sum", np.array([truth]))
    scale = bench.give(np.array([on_device])) if on_device else 0
    bench.launch(1, bench.row_block(len(rows)), given, len(rows), factor, scale, target)


def sum_partials(bench: Bench) -> None:
    walkers, columns, threads = bench.shape.rows, -(-bench.shape.columns // 4) * 4, 128
    partial = bench.normal(walkers, columns)
    given, target = bench.give(partial), bench.want("sums", partial.sum(0))
    bench.launch(-(-columns // 4 // threads), threads, given, walkers, columns, target)


CASES = {
    case.__name__: case
    for case in (
        normalise_rows,
        inverse_norm_rows,
        project_rows,
        prototype_rows,
        supervised_rows,
        anchor_rows,
        sum_rows,
        sum_partials,
    )
}
