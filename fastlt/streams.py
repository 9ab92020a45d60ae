"""Streams: which image sits at which position. Every stream is a pure function of (seed, name, position).

    positions   0 1 2 3 | 4 5 6 7 | 8 9 ...      a global batch of 4 at steps 0, 1, 2
    rank 0 of 2 0 1     | 4 5     | 8 9          each rank takes its contiguous part,
    rank 1 of 2     2 3 |     6 7 |              so the union does not depend on the number of ranks

Nothing is skipped, padded or repeated at an epoch's end: the next epoch begins inside a batch if need be.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from fastlt import attribute_balance, hashing
from fastlt.config import StreamConfig
from fastlt.errors import UserError

CHUNK = 16_384  # positions computed at once: for a single batch numpy would cost milliseconds all the same


class Stream(ABC):
    """An endless sequence of image indices.

    `epoch_length` is the number of positions that count as one epoch.
    """

    epoch_length: int

    def __init__(self) -> None:
        self._chunks: dict[int, np.ndarray] = {}

    def indices(self, start: int, count: int) -> np.ndarray:
        """int64 [count]: the images at positions start, start + 1, ...: a pure function of its arguments."""
        if count == 0:
            return np.empty(0, np.int64)
        first, last = start // CHUNK, (start + count - 1) // CHUNK
        joined = np.concatenate([self._chunk(number) for number in range(first, last + 1)])
        return joined[start - first * CHUNK :][:count]

    def _chunk(self, number: int) -> np.ndarray:
        """Positions [number * CHUNK, (number + 1) * CHUNK); the last two are remembered."""
        if number not in self._chunks:
            while len(self._chunks) > 1:
                self._chunks.pop(next(iter(self._chunks)), None)
            positions = np.arange(number * CHUNK, (number + 1) * CHUNK, dtype=np.int64)
            self._chunks[number] = self._at(positions)
        return self._chunks[number]

    @abstractmethod
    def _at(self, positions: np.ndarray) -> np.ndarray:
        """int64 [n] image indices for int64 [n] positions."""


class Uniform(Stream):
    """Every image exactly once in each epoch of N positions, in an order of that epoch's own."""

    def __init__(self, size: int, key: int, epoch_length: int | None = None) -> None:
        super().__init__()
        self.size, self.key, self.epoch_length = size, key, epoch_length or size

    def _at(self, positions: np.ndarray) -> np.ndarray:
        epoch, place = np.divmod(positions, self.size)
        return hashing.permute(hashing.bits(self.key, epoch), place, self.size)


class Repeated(Stream):
    """Image i exactly repeats[i] times in each epoch of sum(repeats) positions, in an order of that epoch's own."""

    def __init__(self, repeats: np.ndarray, key: int, epoch_length: int | None = None) -> None:
        super().__init__()
        self.ends = np.cumsum(repeats)
        self.round = Uniform(int(self.ends[-1]), key)
        self.epoch_length = epoch_length or self.round.epoch_length

    def _at(self, positions: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.ends, self.round._at(positions), side="right")


class Sequential(Stream):
    """The images in order and, past the end, the last one again: evaluation drops the positions from N on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.epoch_length = size

    def _at(self, positions: np.ndarray) -> np.ndarray:
        return np.minimum(positions, self.epoch_length - 1)


class Switched(Stream):
    """One stream up to a position that is told before any is asked for, from there on another from its beginning."""

    def __init__(self, first: Stream, then: Stream) -> None:
        super().__init__()
        self.first, self.then, self.border = first, then, np.iinfo(np.int64).max
        self.epoch_length = first.epoch_length

    def _at(self, positions: np.ndarray) -> np.ndarray:
        later = self.then._at(np.maximum(positions - self.border, 0))
        return np.where(positions < self.border, self.first._at(positions), later)


class _ByClass(Stream):
    """A class is drawn first, then one of the images in which it is positive.

    The visits of a class go round a keyed order of its images, so none of them comes again before all have come.
    """

    def __init__(self, members: tuple[np.ndarray, np.ndarray], key: int, epoch_length: int) -> None:
        super().__init__()
        self.starts, self.images = members
        self.sizes = np.diff(self.starts)
        self.key, self.epoch_length = key, epoch_length
        self.class_keys = hashing.bits(key, np.arange(len(self.sizes)), lane=1)

    def _visit(self, classes: np.ndarray, visits: np.ndarray) -> np.ndarray:
        """The image that the v-th visit of a class meets."""
        sizes = self.sizes[classes]
        place = hashing.permute(self.class_keys[classes], visits % sizes, sizes)
        return self.images[self.starts[classes] + place].astype(np.int64, copy=False)


class ClassBalanced(_ByClass):
    """Every class that has images exactly once in a block, `images_per_class` images in a row each time.

    The class-aware sampler of Shen, Lin and Huang, "Relay backpropagation", ECCV 2016. With several labels an image
    the co-occurring classes are met more often than 1 / C: `fastlt inspect` prints how often.
    """

    def __init__(self, members, key: int, epoch_length: int, images_per_class: int = 1) -> None:
        super().__init__(members, key, epoch_length)
        self.classes = np.flatnonzero(self.sizes)
        self.images_per_class = images_per_class

    def _at(self, positions: np.ndarray) -> np.ndarray:
        turn, within = np.divmod(positions, self.images_per_class)
        block, slot = np.divmod(turn, len(self.classes))
        order = self._block_orders(np.arange(block[0], block[-1] + 1))
        classes = self.classes[order[block - block[0], slot]]
        return self._visit(classes, block * self.images_per_class + within)

    def _block_orders(self, blocks: np.ndarray) -> np.ndarray:
        """int64 [blocks, classes]: the order of the classes in each block, all orders equally likely."""
        slots = np.arange(len(self.classes))
        return np.argsort(hashing.bits(hashing.bits(self.key, blocks)[:, None], slots, lane=2), axis=1)


class Weighted(_ByClass):
    """Each position draws a class with the given probabilities, then any of its images; with replacement."""

    def __init__(self, members, key: int, epoch_length: int, weights: np.ndarray) -> None:
        super().__init__(members, key, epoch_length)
        present = np.where(self.sizes > 0, np.asarray(weights, np.float64), 0.0)
        self.cumulative = np.cumsum(present / present.sum())
        self.last = int(np.flatnonzero(present)[-1])

    def _at(self, positions: np.ndarray) -> np.ndarray:
        drawn = np.searchsorted(self.cumulative, hashing.uniform(self.key, positions, lane=3), side="right")
        classes = np.minimum(drawn, self.last)
        visits = hashing.integers(self.key, positions, self.sizes[classes], lane=4)
        return self.images[self.starts[classes] + visits].astype(np.int64, copy=False)


def square_root(counts: np.ndarray, config: StreamConfig) -> np.ndarray:
    """p_c ~ sqrt(n_c): Mahajan et al., "Exploring the limits of weakly supervised pretraining", ECCV 2018."""
    return np.sqrt(counts)


def effective_number(counts: np.ndarray, config: StreamConfig) -> np.ndarray:
    """p_c ~ n_c (1 - beta) / (1 - beta^n_c): Cui et al., CVPR 2019, equation 2, as a sampling probability."""
    if config.beta == 1:
        return np.ones_like(counts, dtype=np.float64)
    return counts * (1 - config.beta) / (1 - np.power(config.beta, np.maximum(counts, 1)))


def reversed_frequency(counts: np.ndarray, config: StreamConfig) -> np.ndarray:
    """p_c ~ n_max / n_c: the reversed sampler of BBN (Zhou et al., CVPR 2020, section 4.2)."""
    return counts.max() / np.maximum(counts, 1)


def given(counts: np.ndarray, config: StreamConfig) -> np.ndarray:
    """The weights that the user wrote, one a class."""
    weights = np.asarray(config.weights or (), np.float64)
    if weights.shape != counts.shape:
        raise UserError(f"stream weights: {weights.size} given for {counts.size} classes; give one for each class")
    usable = np.isfinite(weights).all() and (weights >= 0).all() and weights[counts > 0].sum() > 0
    if not usable:
        raise UserError("stream weights must be finite, not negative, and positive for some class that has images")
    return weights


WEIGHTS: dict[str, Callable[[np.ndarray, StreamConfig], np.ndarray]] = {
    "square_root": square_root,
    "effective_number": effective_number,
    "reversed": reversed_frequency,
    "weights": given,
}


def build(
    config: StreamConfig,
    members: tuple[np.ndarray, np.ndarray],
    size: int,
    key: int,
    attributes: dict[str, list[int]] | None = None,
) -> Stream:
    """The stream that `config` names over `size` images.

    `members` is (indptr int64 [C + 1], image index [nnz]): for every class the images in which it is positive.
    `attributes` are the classes of each attribute, which attribute_balanced needs.
    Raises UserError for an empty set or, where classes are drawn, when no class has an image.
    """
    if size == 0:
        raise UserError("the split holds no images; build the data set again")
    if config.sampling == "sequential":
        return Sequential(size)
    length = config.epoch_length or size
    if config.sampling == "uniform":
        return Uniform(size, key, length)
    if not len(members[1]):
        raise UserError(f"stream {config.sampling} draws classes, but no image has a positive label")
    if config.sampling == "attribute_balanced":
        return Repeated(attribute_balance.repeats(members, attributes or {}, size), key, config.epoch_length)
    if config.sampling == "class_balanced":
        return ClassBalanced(members, key, length, config.images_per_class)
    return Weighted(members, key, length, WEIGHTS[config.sampling](np.diff(members[0]), config))


def rank_part(step: int, batch: int, rank: int, ranks: int) -> tuple[int, int]:
    """(start, count): positions of `rank` in the global batch of `step`. Raises UserError unless ranks divide it."""
    if batch % ranks:
        raise UserError(f"batch {batch} is not divisible by {ranks} ranks; choose train.batch a multiple of {ranks}")
    share = batch // ranks
    return step * batch + rank * share, share


def steps_of(epochs: float, epoch_length: int, batch: int) -> int:
    """Steps of a run of so many epochs: ceil(epochs * epoch_length / batch)."""
    return max(1, math.ceil(epochs * epoch_length / batch - 1e-9))
