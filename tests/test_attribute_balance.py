"""Images of rare attribute values are shown more often: by the published rule, each exactly so often an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt import streams
from fastlt.attribute_balance import repeats
from fastlt.config import StreamConfig
from fastlt.errors import UserError


def members_of(labels):
    return np.concatenate([[0], np.cumsum(labels.sum(0))]).astype(np.int64), np.nonzero(labels.T)[1]


def one_by_one(labels, attributes):
    """The rule written out for a single image, as it was published."""
    counts, out = labels.sum(axis=0), []
    for row in labels:
        sums, minorities = 0.0, 0
        for classes in attributes.values():
            own = [c for c in classes if row[c]]
            weight = counts[classes].max() / counts[own[0]] if own else 0.0
            sums += weight
            minorities += weight != 1
        times = 40 if sums >= 20 else 30 if sums >= 15 else 20 if sums >= 5 else 1
        out.append(times if minorities >= 2 else 1)
    return out


@given(st.integers(0, 10**6), st.integers(5, 120))
def test_the_rule_written_out_for_each_image(seed, size):
    rng = np.random.default_rng(seed)
    attributes = {"neck": [0, 1, 2], "sleeve": [3, 4], "pattern": [5, 6, 7, 8]}
    labels = np.zeros((size, 9), np.int64)
    for classes in attributes.values():
        chances = rng.dirichlet(np.full(len(classes) + 1, 0.3))  # the last is unknown
        value = rng.choice(len(classes) + 1, size, p=chances)
        known = value < len(classes)
        labels[np.flatnonzero(known), np.array(classes)[value[known]]] = 1
    assert repeats(members_of(labels), attributes, size).tolist() == one_by_one(labels, attributes)


def test_one_rare_value_beside_common_ones_is_not_repeated():
    labels = np.array([[1, 0, 1, 0]] * 50 + [[0, 1, 1, 0]])
    assert repeats(members_of(labels), {"a": [0, 1], "b": [2, 3]}, 51).tolist() == [1] * 51


def test_two_rare_values_are():
    labels = np.array([[1, 0, 1, 0]] * 50 + [[0, 1, 0, 1]])
    assert repeats(members_of(labels), {"a": [0, 1], "b": [2, 3]}, 51).tolist() == [1] * 50 + [40]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=50), st.integers(0, 2**32), st.integers(0, 1000))
def test_every_image_is_shown_exactly_so_often_in_every_epoch(times, key, epoch):
    stream = streams.Repeated(np.array(times), key)
    assert stream.epoch_length == sum(times)
    shown = stream.indices(epoch * stream.epoch_length, stream.epoch_length)
    assert np.bincount(shown, minlength=len(times)).tolist() == times


def test_a_set_without_attributes_is_refused():
    labels = np.eye(3, dtype=np.int64)
    with pytest.raises(UserError, match="there are no attributes to balance"):
        streams.build(StreamConfig(sampling="attribute_balanced"), members_of(labels), 3, 0)
