"""Records go straight to their place, and the file around them is HDF5 as others read it."""

import hashlib
import zlib

import h5py
import numpy as np
import pytest

from fastlt.data import layout, shard_writer
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter

SIZES = [1, 7, 2047, 2048, 4096, 65_537, 3_000_000]


def record(size, seed=0):
    return np.random.default_rng([size, seed]).integers(0, 256, size, np.uint8).tobytes()


def write(path, records, **known):
    with ShardWriter(path, "encoded") as shard:
        for number, data in enumerate(records):
            shard.append(f"id {number}", Picture(data, 3, 4, **known), [(number, 1)])
        return shard.finish()


@pytest.mark.parametrize("size", SIZES)
def test_hdf5_and_plain_reads_find_the_same_records(tmp_path, size):
    records = [record(size, seed) for seed in range(3)]
    entry = write(tmp_path / "shard", records)
    place = entry["arrays"][layout.BYTES]
    with h5py.File(tmp_path / "shard") as file:
        assert file[layout.BYTES][:].tobytes() == b"".join(records)
        assert file["crc32"][:].tolist() == [zlib.crc32(data) for data in records]
    content = (tmp_path / "shard").read_bytes()
    assert content[place["at"] :][: place["length"]] == b"".join(records)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])


def test_records_begin_at_the_same_place_in_every_shard_and_other_arrays_at_multiples_of_8(tmp_path):
    entries = [write(tmp_path / str(size), [record(size)]) for size in SIZES]
    assert {entry["arrays"][layout.BYTES]["at"] for entry in entries} == {shard_writer._records_at()}
    assert all(place["at"] % 8 == 0 for entry in entries for place in entry["arrays"].values())


def test_a_sum_that_is_known_is_not_made_again(tmp_path):
    write(tmp_path / "shard", [b"abc"], crc32=7)
    with h5py.File(tmp_path / "shard") as file:
        assert file["crc32"][:].tolist() == [7]


def test_nothing_is_left_of_a_shard_that_is_not_finished(tmp_path):
    with ShardWriter(tmp_path / "shard", "encoded") as shard:
        shard.append("id", Picture(bytes(3_000_000), 3, 4), [])
        assert [path.name for path in tmp_path.iterdir()] == ["shard.tmp"]
    assert list(tmp_path.iterdir()) == []
