"""Shard sets made to deceive: every checksum fits, so only values can tell. And `verify` names faults."""

import copy
import functools
import hashlib
import json
import os
import shutil
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from made_sources import ListSource, counted, encoded, pixels

from fastlt.data import layout, manifest, verify
from fastlt.data.build import build
from fastlt.data.hdf5_check import hdf5_faults
from fastlt.data.item import Item
from fastlt.data.journal import Journal
from fastlt.data.longtail import group_limits
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.hashing import integers, key

FIRST, SECOND = "shard-00000.h5", "shard-00001.h5"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of a multi-label set of files in three shards, and of a single-label one of raw pictures in two."""
    out = tmp_path_factory.mktemp("made")
    held = [(0,), (1, 2), (), (0, 1, 3), (3,), (2,), (1,), (0, 3)]
    items = [Item(f"{i}.png", encoded(pixels(i, 4, 5)), of, (4,)[: i % 2]) for i, of in enumerate(held)]
    build(ListSource({"train": items}, classes=5, multi_label=True), out / "encoded", shard_mb=0.0005, workers=1)
    items = [Item(str(i), pixels(i, 3 + i, 9 - i), (i % 2,)) for i in range(6)]
    build(ListSource({"train": items}), out / "raw", shard_mb=0.0003, workers=1)
    assert all(len(list(out.glob(f"{name}/train/*.h5"))) > 1 for name in ("encoded", "raw"))
    return {"encoded": out / "encoded" / "train", "raw": out / "raw" / "train"}


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the multi-label set."""
    return shutil.copytree(made["encoded"], tmp_path / "train")


def forge(folder, change):
    """Applies `change` to the manifest's values and gives them the right checksum."""
    values = manifest.read_manifest(folder)
    change(values)
    seal(folder, values)


def seal(folder, values):
    values.pop("checksum", None)
    (folder / manifest.NAME).write_text(json.dumps(manifest.seal(values), indent=1) + "\n")


def put(*steps):
    """A change that sets values[a][b]... to the last of `steps`."""
    *way, last, value = steps

    def change(values):
        for step in way:
            values = values[step]
        values[last] = value

    return change


def arrays(*steps):
    return put("shards", 0, "arrays", *steps)


def reseal_shards(folder):
    """Gives the manifest the sizes and sums of the shards and arrays as they are now."""

    def change(values):
        for shard in values["shards"]:
            data = (folder / shard["file"]).read_bytes()
            shard.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, place in shard["arrays"].items():
                if name != layout.BYTES:
                    place["crc32"] = zlib.crc32(data[place["at"] : place["at"] + size_of(name, place)])

    forge(folder, change)


def size_of(name, place):
    if name == layout.IDS:
        return place["length"] * place["width"]
    return place["length"] * np.dtype(layout.ARRAYS.get(name, "u1")).itemsize


def place_of(folder, array, shard=0):
    return manifest.read_manifest(folder)["shards"][shard]["arrays"][array]


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path, at):
    overwrite(path, at, bytes([path.read_bytes()[at] ^ 0x10]))


class TestManifest:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (put("classes", [1, 2, 3, 4, 5]), r"classes \[1, 2, 3, 4, 5\] makes no sense"),
            (put("classes", []), "classes"),
            (put("classes", "abcde"), "classes 'abcde' makes no sense"),
            (put("classes", ["only one"]), "counts"),
            (put("name", None), "name None makes no sense"),
            (put("split", "../train"), "split"),
            (put("split", ["train"]), "split"),
            (put("multi_label", 1), "multi_label 1 makes no sense"),
            (put("label_default", 1), "label_default 1 makes no sense"),
            (put("label_default", False), "label_default"),
            (put("encoding", "pickle"), "encoding 'pickle' makes no sense"),
            (put("counts", 0, -1), "counts"),
            (put("counts", 0, 2**62), "counts"),
            (put("counts", 0, "3"), "counts"),
            (put("counts", {}), "counts"),
            (put("training_counts", [1, 1, 1, 1, 1]), "training_counts"),
            (put("training_counts", 0, 1.5), "training_counts"),
            (put("groups", {}), "groups"),
            (put("groups", "head", [3]), "groups"),
            (put("groups", "head", [9, 3]), "groups"),
            (put("groups", "head", [None, 3]), "groups"),
            (put("groups", []), "groups"),
            (put("recipe", []), "recipe"),
            (put("attributes", {"colour": [0, 5]}), "attributes"),
            (put("attributes", {"colour": [0], "form": [0]}), "attributes"),
            (put("attributes", [0]), "attributes"),
            (put("fingerprint", 7), "fingerprint"),
            (put("bad", [["a", 1]]), "bad"),
            (put("done", "many"), "done"),
            (put("records", 2**62), "records"),
            (put("records", -1), "records"),
            (put("shards", []), "shards"),
            (put("shards", {"0": 1}), "shards"),
            (put("shards", 0, 5), "the shard 5 makes no sense"),
            (put("shards", 0, "records", 2**62), "records 4611686018427387904 makes no sense"),
            (put("shards", 0, "records", -1), "records -1 makes no sense"),
            (put("shards", 0, "records", "2"), "records '2' makes no sense"),
            (put("shards", 0, "records", True), "records True makes no sense"),
            (put("shards", 0, "records", 1), "do not fit together"),
            (put("shards", 0, "bytes", 2**62), r"has \d+ bytes where 4611686018427387904 were written"),
            (put("shards", 0, "bytes", 10), "does not lie in its file"),
            (put("shards", 0, "sha256", "0"), "sha256 '0' makes no sense"),
            (put("shards", 0, "arrays", {}), "arrays"),
            (arrays("offset", None), "array 'offset' of shard-00000.h5 does not lie in its file"),
            (arrays("offset", "at", -8), "array 'offset' of shard-00000.h5 does not lie in its file"),
            (arrays("offset", "at", 2**63), "'offset' .* does not lie in its file"),
            (arrays("offset", "at", "0"), "'offset' .* does not lie in its file"),
            (arrays("offset", "length", 2**62), "'offset' .* does not lie in its file"),
            (arrays("offset", "length", 1), "do not fit together"),
            (arrays("bytes", "length", 2**62), "'bytes' .* does not lie in its file"),
            (arrays("crc32", "crc32", -1), "'crc32' .* does not lie in its file"),
            (arrays("label_value", "length", 0), "do not fit together"),
            (arrays("id", "width", 2**61), "'id' .* does not lie in its file"),
            (arrays("id", "width", 0), "'id' .* does not lie in its file"),
            (arrays("id", "length", 1), "do not fit together"),
        ],
    )
    def test_values_that_make_no_sense_are_refused_in_spite_of_the_right_checksum(self, folder, change, message):
        forge(folder, change)
        with pytest.raises(UserError, match=message) as refused:
            ShardSet(folder)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
        assert verify.verify(folder).problems

    def test_records_at_another_place(self, folder):
        forge(folder, arrays("bytes", "at", 1))
        with ShardSet(folder) as shards, pytest.raises(UserError, match="record 0 .* is damaged"):
            shards.read([0])

    def test_arrays_that_overlap(self, folder):
        at = place_of(folder, "height")["at"]
        forge(folder, arrays("width", "at", at))
        with pytest.raises(UserError, match="do not fit together"):
            ShardSet(folder)

    @pytest.mark.parametrize("key", ["classes", "shards", "counts", "groups", "encoding", "fingerprint", "bad"])
    def test_a_missing_value(self, folder, key):
        forge(folder, lambda values: values.pop(key))
        with pytest.raises(UserError, match=rf"{key} is missing, so `fastlt build` did not write it"):
            ShardSet(folder)

    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "NaN", '{"format": "fastlt-shards", "version": 1e999}',
            '{"format": "fastlt-shards", "version": "' + "x" * 10_000 + '\\n"}', '{"format": ["fastlt-shards"]}',
            '{"format": "fastlt-shards", "version": 1, "checksum": {}}', "\ufeff{}",
        ],
    )  # fmt: skip
    def test_other_json_is_refused_with_one_short_line(self, folder, text):
        (folder / manifest.NAME).write_text(text)
        with pytest.raises(UserError) as refused:
            ShardSet(folder)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 400

    def test_lists_nested_deeper_than_python_goes(self, folder):
        deep = []
        for _ in range(900):
            deep = [deep]
        for _ in range(3):  # read and written by code of different limits
            values = manifest.read_manifest(folder)
            try:
                seal(folder, {**values, "source": {"deep": deep}})
            except RecursionError:
                return
            try:
                ShardSet(folder).close()
            except UserError as error:
                assert "damaged" in str(error)
                return
            deep = [[[[[[[[[[deep]]]]]]]]]]

    def test_a_manifest_that_is_no_plain_file(self, folder):
        path = folder / manifest.NAME
        aside = path.rename(folder.parent / "elsewhere.json")
        path.symlink_to(aside)
        with pytest.raises(UserError, match="symbolic link, put the file itself there"):
            ShardSet(folder)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(UserError, match="no regular file"):
            ShardSet(folder)

    def test_a_manifest_larger_than_any(self, folder):
        with open(folder / manifest.NAME, "r+b") as file:
            file.truncate(1 << 40)  # no byte of it is stored
        with pytest.raises(UserError, match="larger than 256 MiB"):
            ShardSet(folder)


class TestFileNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../elsewhere.h5", "../train/shard-00000.h5", "./shard-00000.h5", "/etc/passwd", "shard-00000.h5/../x",
            "shard-00000.h5\n", "shard-00000.h5\0", "", ".", "shard-٠٠٠٠٠.h5", "shard-" + "0" * 300 + ".h5",
            "dataset.json", "file:shard-00000.h5", 7, None, ["shard-00000.h5"],
        ],
    )  # fmt: skip
    def test_names_that_build_does_not_give(self, folder, name):
        forge(folder, put("shards", 0, "file", name))
        with pytest.raises(UserError, match="file .* makes no sense, so `fastlt build` did not write it"):
            ShardSet(folder)

    def test_one_file_named_twice(self, folder):
        forge(folder, lambda values: values["shards"].append(values["shards"][0]))
        with pytest.raises(UserError, match="shards .* makes no sense"):
            ShardSet(folder)

    def test_links_are_not_followed(self, folder):
        path = folder / FIRST
        path.symlink_to(path.rename(folder.parent / "elsewhere.h5"))
        with pytest.raises(UserError, match=r"shard-00000\.h5 cannot be opened: it is a symbolic link"):
            ShardSet(folder)
        assert any("symbolic link" in problem for problem in verify.verify(folder).problems)

    def test_a_link_put_there_after_opening_is_not_followed(self, folder):
        with ShardSet(folder) as shards:
            path = folder / FIRST
            path.symlink_to(path.rename(folder.parent / "elsewhere.h5"))
            with pytest.raises(UserError, match="symbolic link"):
                shards.read([0])

    @pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
    def test_pipes_and_folders(self, folder, kind):
        (folder / FIRST).unlink()
        kind(folder / FIRST)
        with pytest.raises(UserError, match=r"shard-00000\.h5 cannot be opened: it is no regular file"):
            ShardSet(folder)
        assert any(FIRST in problem for problem in verify.verify(folder).problems)


class TestArrays:
    @pytest.mark.parametrize(
        ("name", "kind", "values"),
        [
            ("offset", "<u8", lambda right: right[::-1]),
            ("offset", "<u8", lambda right: right + 1),
            ("offset", "<u8", lambda right: np.r_[right[:-1], 2**63]),
            ("offset", "<u8", lambda right: np.r_[0, np.full(len(right) - 1, 2**64 - 1, np.uint64)]),
            ("label_indptr", "<u8", lambda right: np.r_[right[:-1], 2**40]),
            ("label_indptr", "<u8", lambda right: right[::-1]),
            ("label_index", "<u4", lambda right: np.full_like(right, 5)),
            ("label_index", "<u4", lambda right: np.full_like(right, 2**32 - 1)),
            ("label_index", "<u4", lambda right: np.zeros_like(right)),
            ("label_value", "<i1", lambda right: np.full_like(right, 2)),
            ("label_value", "<i1", lambda right: np.full_like(right, -128)),
            ("height", "<u4", lambda right: np.zeros_like(right)),
            ("width", "<u4", lambda right: np.full_like(right, 2**31)),
        ],
    )
    @pytest.mark.parametrize("check_sums", [True, False])
    def test_values_that_lead_outside_or_make_no_sense(self, folder, name, kind, values, check_sums):
        for shard in manifest.read_manifest(folder)["shards"]:
            place, path = shard["arrays"][name], folder / shard["file"]
            right = np.frombuffer(path.read_bytes(), kind, place["length"], place["at"])
            overwrite(path, place["at"], np.asarray(values(right), kind).tobytes())
        reseal_shards(folder)
        with pytest.raises(UserError, match="do not fit together"):
            ShardSet(folder, check_sums)

    def test_sides_of_a_raw_picture_whose_product_overflows_to_the_right_size(self, tmp_path):
        height, width = 2007567422, 3062868337
        assert 3 * height * width % 2**64 == 26
        journal = Journal(tmp_path, "made")
        journal.claim(overwrite=True)
        with ShardWriter(tmp_path / FIRST, "raw") as writer:
            writer.append("a", Picture(bytes(26), height, width), [(0, 1)])
            journal.add(writer.finish(), 1, [1], [])
        journal.complete_with(
            {
                "name": "made", "split": "train", "classes": ["a"], "multi_label": False, "label_default": 0,
                "encoding": "raw", "counts": [1], "training_counts": [1], "groups": group_limits(False),
            }
        )  # fmt: skip
        journal.release()
        with pytest.raises(UserError, match="do not fit together"):
            ShardSet(tmp_path)

    @pytest.mark.parametrize(("name", "value"), [("label_value", b"\0"), ("label_value", b"\xff")])
    def test_a_single_label_that_is_not_positive(self, made, tmp_path, name, value):
        folder = shutil.copytree(made["raw"], tmp_path / "train")
        overwrite(folder / FIRST, place_of(folder, name)["at"], value)
        reseal_shards(folder)
        with pytest.raises(UserError, match="do not fit together"):
            ShardSet(folder)

    def test_ids_are_checked_when_they_are_first_asked_for(self, folder):
        flip(folder / FIRST, place_of(folder, "id")["at"])
        with ShardSet(folder) as shards:
            shards.read([0])
            with pytest.raises(UserError, match=r"shard-00000\.h5: array 'id' at byte \d+ is damaged"):
                shards.ids([0])

    def test_no_more_memory_is_taken_than_the_files_are_long(self, folder):
        tracemalloc.start()
        for change in (arrays("offset", "length", 2**40), put("shards", 0, "records", 2**39)):
            before = manifest.read_manifest(folder)
            forge(folder, change)
            with pytest.raises(UserError):
                ShardSet(folder)
            seal(folder, before)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


class TestVerifyNamesTheFault:
    """`other` are the problems beside the one that is named."""

    def problems(self, folder):
        report = verify.verify(folder)
        assert all("\n" not in line for line in report.problems)
        return report.problems

    @pytest.mark.parametrize("array", layout.ARRAYS)
    def test_a_flipped_bit_in_an_array(self, folder, array):
        flip(folder / SECOND, place_of(folder, array, 1)["at"])
        digest, fault = self.problems(folder)
        assert f"{SECOND} is not what was written: its SHA-256 differs" in digest
        assert f"{SECOND}: array {array!r} at byte" in fault

    def test_a_flipped_bit_in_the_ids(self, folder):
        flip(folder / SECOND, place_of(folder, "id", 1)["at"])
        assert f"{SECOND}: array 'id' at byte" in self.problems(folder)[1]

    def test_flipped_bits_in_records_and_arrays_of_several_shards(self, folder):
        flip(folder / FIRST, place_of(folder, "bytes")["at"])
        flip(folder / SECOND, place_of(folder, "height", 1)["at"])
        _, record, _, array = self.problems(folder)
        assert f"{FIRST}: record 0 (0.png) at byte" in record and f"{SECOND}: array 'height'" in array

    def test_a_record_and_its_id(self, folder):
        flip(folder / FIRST, place_of(folder, "bytes")["at"])
        flip(folder / FIRST, place_of(folder, "id")["at"])
        _, record, ids = self.problems(folder)
        assert "record 0 (its id as well) at byte" in record and "array 'id'" in ids

    def test_more_damaged_records_than_are_named(self, tmp_path):
        build(counted([30, 30]), tmp_path, workers=1)
        place = place_of(tmp_path / "train", "bytes")
        overwrite(tmp_path / "train" / FIRST, place["at"], b"x" * place["length"])
        problems = self.problems(tmp_path)
        assert len(problems) == 22 and "more than these 20 records are damaged" in problems[-1]

    def test_a_flipped_bit_in_the_hdf5_structure(self, folder):
        flip(folder / FIRST, 0)
        assert "its arrays and records are whole, so what changed is the HDF5 structure" in self.problems(folder)[1]

    def test_a_missing_shard(self, folder):
        (folder / SECOND).unlink()
        assert self.problems(folder) == [f"{folder / SECOND} is missing; build the data set again"]

    @pytest.mark.parametrize("name", ["shard-00099.h5", "shard-00000.h5.part", "shard-0.h5.tmp", "dataset.json.tmp"])
    def test_a_file_too_many(self, folder, name):
        (folder / name).write_bytes(b"x")
        assert self.problems(folder) == [
            f"{folder / name} does not belong to the set, dataset.json does not list it; remove it"
        ]

    def test_what_a_killed_build_left(self, folder):
        (folder / manifest.JOURNAL).write_text("{}")
        assert self.problems(folder) == [
            f"{folder / manifest.JOURNAL} is left of a build that was killed; run it again"
        ]

    def test_swapped_shards(self, folder):
        (folder / FIRST).rename(folder / "aside")
        (folder / SECOND).rename(folder / FIRST)
        (folder / "aside").rename(folder / SECOND)
        first, second = self.problems(folder)
        assert f"{FIRST} holds what {SECOND} should hold; give the files their names back" in first
        assert f"{SECOND} holds what {FIRST} should hold" in second

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
    def test_truncated_and_appended_bytes(self, folder, change):
        data = (folder / FIRST).read_bytes()
        (folder / FIRST).write_bytes(change(data))
        (problem,) = self.problems(folder)
        assert f"{FIRST} has {len(change(data))} bytes where {len(data)} were written" in problem

    def test_an_edited_manifest(self, folder):
        path = folder / manifest.NAME
        path.write_text(path.read_text().replace("class 0", "class 9"))
        (problem,) = self.problems(folder)
        assert "dataset.json is damaged or was edited: its checksum does not fit" in problem

    def test_counts_that_are_not_those_of_the_labels(self, folder):
        forge(folder, lambda values: values.update(counts=[1] * 5, training_counts=[1] * 5))
        (problem,) = self.problems(folder)
        assert "its counts of the classes are not those of its labels" in problem

    def test_splits_that_were_swapped_or_are_of_several_data_sets(self, tmp_path):
        for name, counts in (("a", [5, 5]), ("b", [6, 6])):
            build(counted(counts), tmp_path / name, val=0.4, workers=1)
            assert self.problems(tmp_path / name) == []
        shutil.rmtree(tmp_path / "a/val")
        shutil.copytree(tmp_path / "b/val", tmp_path / "a/val")
        (problem,) = self.problems(tmp_path / "a")
        assert "val is of another data set than" in problem and "their training_counts differ" in problem
        (tmp_path / "b/val").rename(tmp_path / "b/test")
        assert "holds the split val; give the folders their names back" in self.problems(tmp_path / "b")[0]


class TestHdf5:
    """What other tools would see in a shard, where fastlt itself reads only the places in the manifest."""

    def recreate(self, folder, change):
        """Changes the structure of the first shard; the old arrays stay where they are, under other names."""
        with h5py.File(folder / FIRST, "r+") as file:
            change(file)
        reseal_shards(folder)

    def instead(self, name, create):
        def change(file):
            file.move(name, "zz")
            create(file)

        return change

    @pytest.mark.parametrize(
        ("name", "create"),
        [
            ("bytes", lambda file: None),
            ("bytes", lambda file: file.create_group("bytes")),
            ("bytes", lambda file: file.create_dataset("bytes", data=np.zeros(9, "u1"), compression="gzip")),
            ("bytes", lambda file: file.create_dataset("bytes", data=np.zeros(9, "u1"), chunks=(3,))),
            ("bytes", lambda file: file.create_dataset("bytes", data=file["zz"][:])),
            ("bytes", lambda file: file.create_dataset("bytes", (9,), "u1", external=[("/etc/passwd", 0, 9)])),
            ("bytes", lambda file: file.create_virtual_dataset("bytes", virtual_layout())),
            ("bytes", lambda file: file.update({"bytes": h5py.ExternalLink("/etc/passwd", "bytes")})),
            ("bytes", lambda file: file.update({"bytes": h5py.SoftLink("/zz")})),
            ("height", lambda file: file.update({"height": file["width"]})),
            ("crc32", lambda file: file.create_dataset("crc32", data=file["zz"][:].astype("<f4"))),
            ("id", lambda file: file.create_dataset("id", data=["a", "b"])),
        ],
    )
    def test_arrays_elsewhere_filtered_or_of_another_kind_are_named(self, folder, name, create):
        self.recreate(folder, self.instead(name, create))
        assert_refused_or_as(folder, folder)
        (fault,) = hdf5_faults(folder, manifest.read_manifest(folder))
        assert f"{FIRST}: its HDF5 array {name!r} is" in fault
        assert any(FIRST in problem for problem in verify.verify(folder).problems)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda file: file.update({"more": 1}), "holds 'more', which no shard has"),
            (lambda file: file.attrs.update({"encoding": "raw"}), "attributes are not those of its manifest"),
            (lambda file: file.attrs.update({"label_default": -1}), "attributes are not those"),
            (lambda file: file.attrs.update({"more": [1, 2]}), "attributes are not those"),
            (lambda file: file.attrs.update({"version": [1, 1]}), "no HDF5 file that can be read"),
        ],
    )
    def test_other_names_and_attributes(self, folder, change, message):
        self.recreate(folder, change)
        (fault,) = hdf5_faults(folder, manifest.read_manifest(folder))
        assert message in fault

    def test_a_file_that_is_no_hdf5(self, folder):
        overwrite(folder / FIRST, 0, b"\0" * 64)
        reseal_shards(folder)
        (problem,) = verify.verify(folder).problems
        assert f"{FIRST}: no HDF5 file that can be read (OSError" in problem

    def test_a_file_that_ends_the_process_of_libhdf5_is_named(self, folder, monkeypatch):
        monkeypatch.setattr("fastlt.data.hdf5_check.CODE", "print('null', flush=True); import os; os.abort()")
        (problem,) = verify.verify(folder).problems
        assert f"{SECOND}: libhdf5 cannot open it (its process ended with status -6)" in problem

    def test_a_file_that_libhdf5_never_finishes_is_named(self, folder, monkeypatch):
        loop = "import h5py; h5py.File = lambda *_, **__: max(iter(int, 1))"
        monkeypatch.setattr("fastlt.data.hdf5_check.CODE", f"{loop}; {QUICKLY}")
        (problem,) = verify.verify(folder).problems
        assert f"{FIRST}: libhdf5 cannot open it (its process ended with status -14)" in problem

    def test_no_structure_of_any_form_ends_this_process_or_keeps_it_busy(self, folder, monkeypatch):
        """A hundred shards with bytes of their structure changed; every one opens or is named."""
        monkeypatch.setattr("fastlt.data.hdf5_check.CODE", QUICKLY)
        values = manifest.read_manifest(folder)
        whole = (folder / FIRST).read_bytes()
        structure = min(place["at"] for place in values["shards"][0]["arrays"].values())
        values["shards"] = [{**values["shards"][0], "file": layout.shard_name(i)} for i in range(100)]
        for i, shard in enumerate(values["shards"]):
            data = bytearray(whole)
            for at, value in integers(key("structure", i), np.arange(6), 1 << 30).reshape(3, 2).tolist():
                data[at % structure] = value % 256
            (folder / shard["file"]).write_bytes(data)
        assert all(isinstance(line, str) for line in hdf5_faults(folder, values))


QUICKLY = "from fastlt.data import hdf5_check; hdf5_check.SECONDS = 2; hdf5_check.answer()"


def virtual_layout():
    virtual = h5py.VirtualLayout((9,), "u1")
    virtual[:] = h5py.VirtualSource("/etc/passwd", "bytes", (9,))
    return virtual


class TestAnyMutation:
    """Whatever becomes of the files: one line for the user, or the data that was written."""

    RIGHT_SUMS = ("mutate_array", "mutate_shard")  # may be given: then ids and labels are what the arrays now say
    NASTY = (
        -1, 0, 1, 2, 7, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, 10**40, 1.5, -0.0, True, False, None, "", "x", "0",
        "../shard-00000.h5", "raw", "encoded", "\udcff", "\0", "\n", [], {}, [1], ["x"], [[]], {"at": 0}, [None], [-1],
    )  # fmt: skip

    def mutate_value(self, folder, draw):
        values = manifest.read_manifest(folder)
        holder, last = draw_place(values, draw)
        old, kind = holder[last], draw(6)
        if kind == 0 and isinstance(old, int):
            holder[last] = old + (-1, 1, 8, -8, 4096)[draw(5)]
        elif kind == 1:
            del holder[last]
        elif kind == 2:
            other, there = draw_place(values, draw)
            holder[last] = copy.deepcopy(other[there])
        elif kind == 3 and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(old))
        else:
            holder[last] = self.NASTY[draw(len(self.NASTY))]
        sealed = draw(4) > 0
        seal(folder, values) if sealed else (folder / manifest.NAME).write_text(json.dumps(values, indent=1) + "\n")

    def mutate_text(self, folder, draw):
        path = folder / manifest.NAME
        path.write_bytes(mutated(path.read_bytes(), draw))

    def mutate_shard(self, folder, draw):
        path = folder / (FIRST, SECOND)[draw(2)]
        path.write_bytes(mutated(path.read_bytes(), draw))
        if draw(2):
            try:
                reseal_shards(folder)
            except UserError:  # arrays that no longer lie in the file
                return

    def mutate_array(self, folder, draw):
        """Bytes of an index or label array, with the right sums: what is accepted is what the arrays now say."""
        values = manifest.read_manifest(folder)
        shard = values["shards"][draw(len(values["shards"]))]
        name = [*layout.ARRAYS, layout.IDS][draw(len(layout.ARRAYS) + 1)]
        place = shard["arrays"][name]
        if size := size_of(name, place):
            at = place["at"] + draw(size)
            overwrite(folder / shard["file"], at, bytes([(0, 1, 2, 3, 5, 127, 128, 255, draw(256))[draw(9)]]))
            reseal_shards(folder)

    @pytest.mark.parametrize("count", [250, pytest.param(10_000, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("mutate", ["mutate_value", "mutate_text", "mutate_shard", "mutate_array"])
    @pytest.mark.parametrize("which", ["encoded", "raw"])
    def test_ends_in_one_line_or_the_data_that_was_written(self, made, tmp_path, monkeypatch, which, mutate, count):
        monkeypatch.setattr(verify, "hdf5_faults", lambda *_: [])  # a process each; TestHdf5 looks at it
        whole = {path.name: path.read_bytes() for path in made[which].iterdir()}
        folder, accepted = tmp_path, 0
        for number in range(count):
            draws = iter(integers(key("mutation", which, mutate, number), np.arange(200), 1 << 30).tolist())
            for name, data in whole.items():
                if number == 0 or (folder / name).read_bytes() != data:
                    (folder / name).write_bytes(data)
            getattr(self, mutate)(folder, lambda below, draws=draws: next(draws) % below)
            accepted += assert_refused_or_as(folder, made[which], labels_too=mutate not in self.RIGHT_SUMS)
            if number % 8 == 0:
                verify.verify(folder)
        assert accepted < count
        assert accepted or mutate == "mutate_text"  # the others change some values that decide nothing


def draw_place(values, draw):
    """A holder, and a key or index in it, anywhere in a tree of JSON."""
    holder = values
    while True:
        last = draw(len(holder)) if isinstance(holder, list) else list(holder)[draw(len(holder))]
        inside = holder[last]
        if not isinstance(inside, (list, dict)) or not inside or draw(4) == 0:
            return holder, last
        holder = inside


def mutated(data, draw):
    at, length = draw(len(data)), 1 + draw(12)
    kind = draw(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[at + length :]
    if kind == 2:
        return data[:at] + data[at : at + length] + data[at:]
    if kind == 3:
        return data + bytes(length)
    if kind == 4:
        return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]
    return data[:at] + bytes([data[at] ^ 1 << draw(8)]) + data[at + 1 :]


def assert_refused_or_as(folder, origin, labels_too=True):
    """Either a UserError of one line, or the pictures of `origin` and the labels that the arrays say; which one."""
    try:
        with ShardSet(folder) as shards:
            rows = np.arange(len(shards))
            records = [record.tobytes() for record in shards.read(rows)]
            told = shards.ids(rows), shards.shapes(rows).tolist(), shards.labels(rows).tolist()
            indptr, members = shards.class_members()
    except UserError as error:
        assert "\n" not in str(error)
        return False
    expected = plainly(folder, manifest.read_manifest(folder))
    assert records == expected[0] and told == expected[1:4]
    assert indptr[-1] == len(members) and set(members.tolist()) <= set(rows.tolist())
    written = plainly_once(origin)
    assert records == written[0]
    if labels_too:
        assert (expected[1], expected[2], expected[4]) == (written[1], written[2], written[4])
    return True


@functools.cache
def plainly_once(folder):
    return plainly(folder, manifest.read_manifest(folder))


def plainly(folder, values):
    """Records, ids, shapes, labels and their entries, read in the simplest way."""
    records, ids, shapes, labels, entries = [], [], [], [], []
    for shard in values["shards"]:
        data, place = (folder / shard["file"]).read_bytes(), shard["arrays"]
        part = {
            n: np.frombuffer(data, k, place[n]["length"], place[n]["at"]).tolist() for n, k in layout.ARRAYS.items()
        }
        for i in range(shard["records"]):
            start = place["bytes"]["at"]
            records.append(data[start + part["offset"][i] : start + part["offset"][i + 1]])
            at, width = place["id"]["at"], place["id"]["width"]
            ids.append(data[at + i * width : at + (i + 1) * width].rstrip(b"\0").decode("utf-8", "surrogateescape"))
            shapes.append([part["height"][i], part["width"][i]])
            inside = slice(*part["label_indptr"][i : i + 2])
            entries.append([*zip(part["label_index"][inside], part["label_value"][inside], strict=True)])
            row = [dict(entries[-1]).get(c, values["label_default"]) for c in range(len(values["classes"]))]
            labels.append(row if values["multi_label"] else entries[-1][0][0])
    return records, ids, shapes, labels, entries
