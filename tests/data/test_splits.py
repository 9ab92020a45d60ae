"""Validation carved from training images keeps the share of every class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastlt.data.labels import LabelRows
from fastlt.data.splits import carve
from fastlt.hashing import uniform

shares = st.floats(0.01, 0.9)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), shares, st.integers(0, 9))
def test_single_label_takes_the_rounded_share_but_never_the_last_image(counts, share, seed):
    labels = LabelRows.from_lists([[(c, 1)] for c, n in enumerate(counts) for _ in range(n)], len(counts))
    taken = carve(labels, share, seed)
    expected = [min(int(n * share + 0.5), n - 1) for n in counts]
    assert labels.take(taken).counts().tolist() == expected
    assert (np.diff(taken) > 0).all()


many_labels = st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=60)


@given(many_labels, shares, st.integers(0, 9))
def test_multi_label_leaves_every_class_an_image(rows, share, seed):
    labels = LabelRows.from_lists([[(c, 1) for c in sorted(row)] for row in rows], 8)
    taken = carve(labels, share, seed)
    left = labels.counts() - labels.take(taken).counts()
    assert (left[labels.counts() > 0] > 0).all()
    assert len(set(taken.tolist())) == len(taken)
    assert np.array_equal(taken, carve(labels, share, seed))


def test_multi_label_follows_the_tail():
    chance = 0.6 ** np.arange(10)
    has = uniform(3, np.arange(20000).reshape(2000, 10)) < chance
    labels = LabelRows.from_lists([[(c, 1) for c in np.flatnonzero(row)] for row in has], 10)
    counts, got = labels.counts(), labels.take(carve(labels, 0.1, seed=0)).counts()
    assert np.abs(got - 0.1 * counts).max() <= np.maximum(2, 0.02 * counts).max()
    assert np.abs(got - 0.1 * counts)[counts < 100].max() <= 2


def test_another_seed_takes_other_images():
    labels = LabelRows.from_lists([[(0, 1)]] * 100, 1)
    assert not np.array_equal(carve(labels, 0.2, 0), carve(labels, 0.2, 1))
