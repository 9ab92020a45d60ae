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
