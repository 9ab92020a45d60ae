"""Counter-based randomness: every random number is a pure function of (key, counter, lane).

No generator is ever advanced, so a run resumes at any step from two integers, any sample can be looked at alone, and
the draws do not depend on ranks, threads or prefetch. The mixer is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LANE = np.uint64(0xD1B54A32D192ED03)
_ROUNDS = 6  # of the Feistel network; 4 are enough for large domains, 6 mix the tiny ones too


def key(*parts: int | str) -> int:
    """A 64-bit key named by `parts`; equal on every machine and Python version."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unsigned(x) -> np.ndarray:
    """As an array of uint64, at least 1-d so that products wrap silently."""
    array = np.atleast_1d(np.asarray(x))
    return array.astype(np.uint64) if array.dtype == object else array.astype(np.uint64, copy=False)


def bits(key, counter, lane: int = 0) -> np.ndarray:
    """64 random bits (uint64) a counter; `key` and `counter` broadcast, `lane` separates draws at one counter."""
    shape = np.broadcast_shapes(np.shape(key), np.shape(counter))
    word = _mix(_unsigned(key) + _unsigned(counter) * _GOLDEN)
    return _mix(word + np.array([lane + 1], np.uint64) * _LANE).reshape(shape)


def uniform(key, counter, lane: int = 0) -> np.ndarray:
    """float64 in [0, 1) with 53 random bits for each counter."""
    return (bits(key, counter, lane) >> np.uint64(11)) * 2.0**-53


def normal(key, counter, lane: int = 0) -> np.ndarray:
    """float64, standard normal, for each counter; it takes `lane` and the one after it (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-uniform(key, counter, lane)))
    return radius * np.cos(2 * np.pi * uniform(key, counter, lane + 1))


def integers(key, counter, high, lane: int = 0) -> np.ndarray:
    """int64 in [0, high) for each counter; `high` (at most 2**32, at least 1) is a number or an array."""
    word = bits(key, counter, lane) >> np.uint64(32)
    return ((word * np.asarray(high).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def permute(key, position, size) -> np.ndarray:
    """Where a keyed permutation of 0..size-1 puts `position` (int64; all three broadcast; 0 <= position < size).

    A Feistel network over the smallest power of two that holds `size`, walked along its cycle until it falls inside
    (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): no array of `size` is ever made.
    """
    shape = np.broadcast_shapes(np.shape(key), np.shape(position), np.shape(size))
    flat = [np.broadcast_to(_unsigned(x), shape or (1,)).ravel() for x in (key, position, size)]
    keys, out, sizes = flat[0], flat[1].copy(), flat[2]
    width = _bit_width(sizes)
    todo = np.arange(out.size)
    while todo.size:
        out[todo] = _feistel(keys[todo], out[todo], width[todo])
        todo = todo[out[todo] >= sizes[todo]]
    return out.astype(np.int64).reshape(shape)


def shuffled(key, size: int) -> np.ndarray:
    """int64 [size]: the numbers 0..size-1 in a keyed random order."""
    return permute(key, np.arange(size), size)


def _bit_width(sizes: np.ndarray) -> np.ndarray:
    """Bits needed for the numbers below `sizes`, at least 2 so that both halves of the network hold something."""
    exponent = np.frexp(np.maximum(sizes, np.uint64(1)).astype(np.float64) - 1)[1]
    return np.maximum(exponent, 2).astype(np.uint64)


def _feistel(keys: np.ndarray, x: np.ndarray, width: np.ndarray) -> np.ndarray:
    """One pass of an alternating Feistel network over `width` bits; the halves may differ by one bit."""
    one = np.uint64(1)
    low = width >> one
    widths = (low, width - low)
    left, right = x >> low, x & ((one << low) - one)
    for turn in range(_ROUNDS):
        mask = (one << widths[(turn + 1) % 2]) - one
        mixed = _mix(keys + right + np.array([turn + 1], np.uint64) * _LANE)
        left, right = right, left ^ (mixed & mask)
    return (left << low) | right
