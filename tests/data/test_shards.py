"""The shard format: what goes in comes out, any HDF5 tool opens it, and damaged or foreign files are refused."""

import json
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sources import ListSource, counted, pixels

from fastlt.data import manifest
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.journal import Journal
from fastlt.data.longtail import group_limits
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

CLASSES = 5
records = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40),
        st.dictionaries(st.integers(0, CLASSES - 1), st.sampled_from([1, 0, -1]), max_size=4),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
)


def write_set(folder, rows, shard_records, default=0):
    """A shard set of any bytes; each shard holds `shard_records` of them."""
    journal = Journal(folder, "made")
    journal.claim(overwrite=True)
    for start in range(0, len(rows), shard_records):
        with ShardWriter(folder / f"shard-{start:05d}.h5", "encoded", default) as writer:
            for number, (data, labels, id) in enumerate(rows[start : start + shard_records]):
                writer.append(id, Picture(data, number + 1, 7), sorted(labels.items()))
            journal.add(writer.finish(), 0, [0] * CLASSES, [])
    description = {"name": "made", "split": "train", "classes": list("abcde"), "multi_label": True}
    counts = {"counts": [0] * CLASSES, "training_counts": [0] * CLASSES, "groups": group_limits(True)}
    journal.complete_with({**description, "label_default": default, "encoding": "encoded", **counts})


@settings(deadline=None, max_examples=40)
@given(records, st.integers(1, 5), st.sampled_from([0, -1]), st.data())
def test_what_goes_in_comes_out(tmp_path_factory, rows, shard_records, default, data):
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, rows, shard_records, default)
    order = np.array(data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=20)), np.int64)
    with ShardSet(folder) as shards:
        assert len(shards) == len(rows)
        assert [record.tobytes() for record in shards.read(order)] == [rows[i][0] for i in order]
        assert shards.ids(order) == [rows[i][2] for i in order]
        assert shards.shapes(order).tolist() == [[i % shard_records + 1, 7] for i in order]
        expected = [[rows[i][1].get(c, default) for c in range(CLASSES)] for i in order]
        assert shards.labels(order).tolist() == expected and shards.labels(order).dtype == np.int8


def test_any_hdf5_tool_reads_a_shard(digits):
    with h5py.File(digits / "train" / "shard-00000.h5") as file, ShardSet(digits / "train") as shards:
        offset, stored = file["offset"][:], file["bytes"]
        assert stored.chunks is None, "contiguous"
        for row in (0, 100, len(shards) - 1):
            record = stored[offset[row] : offset[row + 1]]
            assert np.array_equal(record, shards.read([row])[0])
            assert zlib.crc32(record) == file["crc32"][row]
            assert file["id"].asstr()[row] == shards.ids([row])[0]
        assert dict(file.attrs) == {"format": "fastlt-shard", "version": 1, "encoding": "encoded", "label_default": 0}


def test_raw_pictures_of_several_sizes(tmp_path):
    images = [pixels(i, 4 + i, 9 - i) for i in range(4)]
    items = [Item(str(i), image, (i % 2,)) for i, image in enumerate(images)]
    build(ListSource({"train": items}), tmp_path, workers=1)
    with ShardSet(tmp_path / "train") as shards:
        assert shards.encoding == "raw"
        for read, image in zip(shards.read(np.arange(4)), images, strict=True):
            assert np.array_equal(read, image)


def test_single_labels_and_class_members(digits):
    with ShardSet(digits / "train") as shards:
        labels = shards.labels(np.arange(len(shards)))
        indptr, members = shards.class_members()
        assert labels.dtype == np.int64
        for c in range(10):
            assert np.array_equal(members[indptr[c] : indptr[c + 1]], np.flatnonzero(labels == c))
        assert np.array_equal(np.bincount(labels), shards.counts)
        assert np.array_equal(shards.training_counts, shards.counts)
    with ShardSet(digits / "test") as test:
        assert not np.array_equal(test.training_counts, test.counts)
        assert test.groups == {"many": (101, None), "medium": (20, 100), "few": (0, 19)}


@pytest.mark.parametrize("indices", [[-1], [10**6], [0, -1]])
def test_indices_outside(digits, indices):
    with ShardSet(digits / "train") as shards, pytest.raises(IndexError):
        shards.read(np.array(indices))


def test_files_are_closed_and_opened_again(digits):
    with ShardSet(digits / "train") as shards:
        before = shards.read([3])[0]
        shards.close()
        assert not shards._files._handles
        assert np.array_equal(shards.read([3])[0], before)
    assert not shards._files._handles


def test_more_shards_than_open_files(tmp_path):
    build(counted([20, 20]), tmp_path, shard_mb=0.001, workers=1)
    with ShardSet(tmp_path / "train") as shards:
        everything = np.arange(40)
        expected = [record.tobytes() for record in shards.read(everything)]
        shards.close()
        shards._files._handle_limit = 2
        assert len(shards.manifest["shards"]) > 10
        assert [record.tobytes() for record in shards.read(everything)] == expected
        assert len(shards._files._handles) == 2


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path):
        build(counted([6, 4]), tmp_path, workers=1)
        return tmp_path / "train"

    def place(self, folder, array):
        return manifest.read_manifest(folder)["shards"][0]["arrays"][array]["at"]

    def flip(self, path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)

    def test_a_damaged_record_is_named_when_it_is_first_read(self, folder):
        with ShardSet(folder) as shards:
            third = int(shards._offset[3])
        self.flip(folder / "shard-00000.h5", third + 5)
        with ShardSet(folder) as shards:
            shards.read([0, 1, 2, 4])
            with pytest.raises(UserError, match=rf"shard-00000\.h5: record 3 \(3\.png\) at byte {third} is damaged"):
                shards.read([2, 3])

    @pytest.mark.parametrize(
        "array", ["offset", "crc32", "height", "width", "label_indptr", "label_index", "label_value"]
    )
    def test_damaged_arrays_are_named_at_opening(self, folder, array):
        self.flip(folder / "shard-00000.h5", self.place(folder, array))
        with pytest.raises(UserError, match=rf"shard-00000\.h5: array '{array}' at byte \d+ is damaged"):
            ShardSet(folder)

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
    def test_another_size_is_refused_at_opening(self, folder, change):
        path = folder / "shard-00000.h5"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(UserError, match=r"shard-00000\.h5 has \d+ bytes where \d+ were written"):
            ShardSet(folder)

    def test_a_missing_shard(self, folder):
        (folder / "shard-00000.h5").unlink()
        with pytest.raises(UserError, match=r"shard-00000\.h5 cannot be opened"):
            ShardSet(folder)

    def test_an_edited_manifest(self, folder):
        path = folder / "dataset.json"
        path.write_text(path.read_text().replace('"class 0"', '"class 9"'))
        with pytest.raises(UserError, match="damaged or was edited"):
            ShardSet(folder)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "damaged"),
            ("[]", "not written by"),
            ('{"format": "coco"}', "not written by"),
            ('{"format": "fastlt-shards", "version": 99}', "version 99, this fastlt reads 1"),
            ("\0\1", "damaged"),
        ],
    )
    def test_foreign_manifests(self, folder, text, message):
        (folder / "dataset.json").write_text(text)
        with pytest.raises(UserError, match=message):
            ShardSet(folder)

    def test_a_folder_that_is_none_or_holds_the_splits(self, folder):
        with pytest.raises(UserError, match="does not exist"):
            ShardSet(folder / "nowhere")
        with pytest.raises(UserError, match=r"holds the splits train; give one of them, such as .*train"):
            ShardSet(folder.parent)

    @pytest.mark.parametrize(
        ("array", "values"),
        [
            ("offset", [0, 50, 40]),
            ("offset", [0, 10, 10**12]),
            ("offset", [5, 10, 100]),
            ("label_indptr", [0, 2, 1]),
            ("label_index", [7, 0]),
            ("crc32", [1]),
        ],
    )
    def test_arrays_that_lead_outside_are_refused_even_with_right_sums(self, tmp_path, array, values):
        """A manifest that was made to deceive: all its checksums fit."""
        write_set(tmp_path, [(b"a" * 60, {0: 1}, "a"), (b"b" * 40, {1: 1}, "b")], 2)
        description = manifest.read_manifest(tmp_path)
        shard = description["shards"][0]
        place = shard["arrays"][array]
        kind = {"offset": "<u8", "label_indptr": "<u8", "label_index": "<u4", "crc32": "<u4"}[array]
        forged = np.array(values, kind).tobytes()
        path = tmp_path / shard["file"]
        data = bytearray(path.read_bytes())
        data[place["at"] : place["at"] + len(forged)] = forged
        path.write_bytes(data)
        place.update(crc32=zlib.crc32(forged), length=len(values))
        manifest.write_json(tmp_path / "dataset.json", manifest.seal(description))
        with pytest.raises(UserError, match="do not fit together"):
            ShardSet(tmp_path)


def test_the_manifest_is_plain_json(digits):
    content = json.loads((digits / "train" / "dataset.json").read_text())
    assert content["format"] == "fastlt-shards" and content["version"] == 1 and content["split"] == "train"
    assert content["recipe"] == {"name": "exponential", "imbalance": 25, "seed": 0, "validation": 0.1}
    assert sum(content["counts"]) == content["records"] == sum(shard["records"] for shard in content["shards"])
