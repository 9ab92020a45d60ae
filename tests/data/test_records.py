"""Many records at once: the same with the compiled library and without it."""

import sys

import numpy as np
import pytest
from made_sources import ListSource, pixels

import fastlt.ops.records  # noqa: F401
from fastlt.data import records
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

COUNT, SIDE = 40, (6, 5)


@pytest.fixture(params=["compiled", "one by one"], autouse=True)
def way(request, monkeypatch):
    if request.param == "one by one":
        monkeypatch.delitem(sys.modules, "fastlt.ops.records")
        assert records._library(COUNT) is None


@pytest.fixture(scope="module")
def images():
    return np.stack([pixels(i, *SIDE) for i in range(COUNT)])


@pytest.fixture
def folder(tmp_path, images):
    items = [Item(str(i), image, (i % 2,)) for i, image in enumerate(images)]
    build(ListSource({"train": items}), tmp_path, shard_mb=0.001, workers=1)
    return tmp_path / "train"


def test_raw_pictures_of_one_size_are_one_array(folder, images):
    order = np.random.default_rng(0).integers(0, COUNT, 100)
    with ShardSet(folder) as shards:
        found = shards.read(order)
        assert len(shards.manifest["shards"]) > 2
        assert isinstance(found, np.ndarray) and np.array_equal(found, images[order])
        assert len(shards.read(np.arange(0))) == 0


def test_what_is_read_is_the_callers_own(folder, images):
    with ShardSet(folder) as shards:
        shards.read(np.arange(COUNT))[:] = 0
        assert np.array_equal(shards.read(np.arange(COUNT)), images)


def test_a_damaged_record_among_many_is_named_when_it_is_first_read(folder):
    with ShardSet(folder) as shards:
        shards.read(np.arange(20))
        at, path = int(shards._offset[30 + shards._shard_of(np.array(30))]), None
        path = folder / shards.manifest["shards"][int(shards._shard_of(np.array(30)))]["file"]
        data = bytearray(path.read_bytes())
        data[at + 3] ^= 1
        path.write_bytes(data)
        shards.close()
        with pytest.raises(UserError, match=rf"\(30\) at byte {at} is damaged"):
            shards.read(np.arange(COUNT))
        assert len(shards.read(np.delete(np.arange(COUNT), 30))) == COUNT - 1


def test_a_shard_that_became_shorter_is_said(folder):
    with ShardSet(folder) as shards:
        path = folder / shards.manifest["shards"][0]["file"]
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(UserError, match="a shard became shorter"):
            shards.read(np.arange(COUNT))


def test_rows_taken_of_one_array_are_one_array(images):
    rows = np.array([2, 0, 2])
    assert np.array_equal(records.taken(images, rows), images[rows])
    several = records.taken([images[0], images[1, :4], images[2]], rows)
    assert [len(picture) for picture in several] == [6, 6, 6] and several[0] is several[2]


def test_records_are_split_where_they_end():
    data = np.arange(6, dtype=np.uint8)
    assert [part.tolist() for part in records.split(data, np.array([2, 0, 4]))] == [[0, 1], [], [2, 3, 4, 5]]
