"""The file in memory behaves like one on disk."""

import io

from hypothesis import given
from hypothesis import strategies as st

from fastlt.data.sparse_file import PAGE, SparseFile

near_page_edges = st.integers(0, 3).flatmap(lambda page: st.integers(max(0, page * PAGE - 9), page * PAGE + 9))
writes = st.lists(st.tuples(near_page_edges, st.binary(min_size=1, max_size=30)), min_size=1, max_size=8)


@given(writes, near_page_edges, st.integers(0, 40))
def test_like_a_file_on_disk(writes, place, length):
    ours, real = SparseFile(), io.BytesIO()
    for at, data in writes:
        for file in (ours, real):
            file.seek(at)
            file.write(data)
            assert file.tell() == at + len(data)
    read, expected = bytearray(length), bytearray(length)
    for file, buffer in ((ours, read), (real, expected)):
        file.seek(place)
        file.readinto(buffer)
    assert read == expected
    copy = io.BytesIO()
    ours.copy_to(copy)
    assert copy.getvalue() == real.getvalue() and ours.seek(0, io.SEEK_END) == len(real.getvalue())


def test_room_costs_nothing_and_reads_as_zeros():
    file = SparseFile()
    file.write(b"head")
    file.truncate(1 << 40)
    file.seek(1 << 39)
    buffer = bytearray(b"xx")
    assert file.readinto(buffer) == 2 and buffer == b"\0\0"


@given(writes, near_page_edges, near_page_edges)
def test_what_is_left_out_of_a_copy_stays_as_it_was(writes, first, second):
    ours, left_out = SparseFile(), range(min(first, second), max(first, second))
    for at, data in writes:
        ours.seek(at)
        ours.write(data)
    whole, copy = io.BytesIO(), io.BytesIO(b"\xaa" * ours.seek(0, io.SEEK_END))
    ours.copy_to(whole)
    expected = bytearray(copy.getvalue())
    for page in {place // PAGE for at, data in writes for place in (at, at + len(data) - 1)}:
        expected[page * PAGE : (page + 1) * PAGE] = whole.getvalue()[page * PAGE : (page + 1) * PAGE]
    kept = slice(min(left_out.start, len(expected)), min(left_out.stop, len(expected)))
    expected[kept] = b"\xaa" * (kept.stop - kept.start)
    ours.copy_to(copy, left_out)
    assert copy.getvalue() == expected
