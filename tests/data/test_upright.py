"""A plain JPEG decoded by its known header is the picture that opening the file gives; a broken one is left to that."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plain_headers import jpegs

from fastlt.data.picture_headers import open_header
from fastlt.data.plain_headers import plain_header
from fastlt.data.upright import upright, upright_jpeg

PLAIN = list(jpegs())


def opened(data):
    """None where Pillow does not decode it."""
    try:
        with open_header(data) as image:
            return upright(image)
    except (OSError, ValueError):
        return None


def assert_the_same(one, other):
    assert one.mode == other.mode and not one.info
    assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in PLAIN])
def test_it_is_the_picture_that_opening_the_file_gives(data):
    assert_the_same(upright_jpeg(data, plain_header(data)), opened(data))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([data for _, data in PLAIN]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 200),
)
def test_so_it_is_of_a_damaged_one(data, changes, cut):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    damaged = bytes(damaged[: len(data) - 2 - cut]) + data[-2:]
    header = plain_header(damaged)
    if header is not None:
        shown, expected = upright_jpeg(damaged, header), opened(damaged)
        assert (shown is None) == (expected is None)
        if shown is not None:
            assert_the_same(shown, expected)
