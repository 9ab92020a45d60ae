"""Many records by one call: what one call each would give."""

import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt.ops import records

pytestmark = pytest.mark.skipif(not records.available(), reason="the library is not compiled")
DATA = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)
places = st.integers(0, len(DATA))


def numbers(*values):
    return np.array(values, np.int64)


@given(st.lists(st.tuples(places, places).map(sorted), max_size=20), st.booleans())
def test_sums_are_those_of_zlib(parts, fold):
    start, end = (numbers(*column) for column in zip(*parts, strict=True)) if parts else (numbers(), numbers())
    assert records.crc32_parts(DATA, start, end, fold).tolist() == [zlib.crc32(DATA[a:b]) for a, b in parts]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 63, 64, 65, 79, 80, 127, 128, 3072])
def test_sums_of_lengths_where_vectors_begin_and_end(length):
    for start in (0, 1, 7):
        expected = zlib.crc32(DATA[start : start + length])
        for fold in (True, False):
            assert records.crc32_parts(DATA, numbers(start), numbers(start + length), fold).tolist() == [expected]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 5001)])
def test_a_sum_of_what_is_not_there_is_refused(start, end):
    with pytest.raises(RuntimeError, match="part 1 is not inside"):
        records.crc32_parts(DATA, numbers(0, start), numbers(1, end))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(DATA.tobytes())
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    yield handle
    os.close(handle)


def test_parts_of_files_lie_side_by_side(file):
    start, size = numbers(17, 4000, 0, 9), numbers(5, 1000, 0, 30)
    found = np.empty(1035, np.uint8)
    assert records.read_parts(found, np.full(4, file), start, size) == 1035
    assert np.array_equal(found, np.concatenate([DATA[a : a + n] for a, n in zip(start, size, strict=True)]))


def test_a_shorter_file_gives_what_it_has(file):
    found = np.empty(300, np.uint8)
    assert records.read_parts(found, np.full(2, file), numbers(4900, 0), numbers(200, 100)) == 100


def test_what_cannot_be_read_is_an_os_error(file):
    with pytest.raises(OSError, match="Bad file descriptor"):
        records.read_parts(np.empty(1, np.uint8), numbers(-1), numbers(0), numbers(1))


@pytest.mark.parametrize(("start", "size"), [(0, 11), (0, 9), (0, -1), (-1, 10)])
def test_parts_that_do_not_fit_are_refused(file, start, size):
    with pytest.raises(RuntimeError, match="do not fill the bytes"):
        records.read_parts(np.empty(10, np.uint8), numbers(file), numbers(start), numbers(size))
