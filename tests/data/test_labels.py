"""Compressed label rows against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt.data import labels as labels_module
from fastlt.data.labels import LabelRows

CLASSES = 6
rows_of_labels = st.lists(st.dictionaries(st.integers(0, CLASSES - 1), st.sampled_from([1, 0, -1])), max_size=12)


@pytest.mark.parametrize("block", [2, labels_module.BLOCK])
@given(rows=rows_of_labels, default=st.sampled_from([0, -1]), data=st.data())
def test_rows_say_what_the_lists_say_however_many_are_looked_at_together(block, rows, default, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels_module, "BLOCK", block)
        check(rows, default, data)


def check(rows, default, data):
    labels = LabelRows.from_lists([sorted(row.items()) for row in rows], CLASSES, default)
    expected = np.array([[row.get(c, default) for c in range(CLASSES)] for row in rows], np.int8).reshape(-1, CLASSES)
    everything = np.arange(len(rows))
    assert np.array_equal(labels.dense(everything), expected)
    assert np.array_equal(labels.counts(), (expected == 1).sum(0))
    indptr, members = labels.members()
    for c in range(CLASSES):
        assert np.array_equal(members[indptr[c] : indptr[c + 1]], np.flatnonzero(expected[:, c] == 1))
    picked = np.array(data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=8)) if rows else [], np.int64)
    assert np.array_equal(labels.take(picked).dense(np.arange(len(picked))), expected[picked])
    assert np.array_equal(labels.dense(picked), expected[picked])
