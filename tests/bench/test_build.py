"""The figures of building: every contestant does the whole work, and every ratio is of rates of the same run."""

from __future__ import annotations

import statistics
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from fastlt.bench import build as bench
from fastlt.bench import encoders
from fastlt.bench.photos import photo_set

from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

PEERS = ("h5py_vlen", "tar", "flat", "disk", "memory")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as small:
        small.chdir(tmp_path_factory.mktemp("bench"))
        small.setattr("fastlt.bench.photos.COUNT", 12)
        for name, value in {"LEAST": 24, "DECODED": 8, "ROUNDS": 2}.items():
            small.setattr(bench, name, value)
        yield bench.cases(None)


def test_encoded_pictures_pass_through_with_either_check_and_are_encoded_anew(found):
    assert [(case["name"], case["checks"]) for case in found] == [
        ("pass_through", "header"), ("pass_through", "decode"), ("reencode", "decode"),
    ]  # fmt: skip


def test_rates_and_ratios_are_those_of_the_samples(found):
    for case in found:
        ours, *peers = case["samples"]
        assert case["images_per_second"] == pytest.approx(statistics.median(case["samples"][ours]), abs=0.1)
        assert {*PEERS} <= {*peers} or peers in (["pillow"], ["pillow", "ffcv"])
        for peer in peers:
            pairs = zip(case["samples"][ours], case["samples"][peer], strict=True)
            assert case[f"vs_{peer}"] == pytest.approx(statistics.median(a / b for a, b in pairs), rel=0.02, abs=0.01)


def test_the_summary_names_every_peer(found):
    told = bench.summary(found)
    assert told["images_per_second"].keys() == told["vs"]["pass_through"].keys() == {"header", "decode"}
    assert all({*PEERS, "webdataset"} == ratios.keys() for ratios in told["vs"]["pass_through"].values())
    assert told["vs"]["reencode"].keys() == {"pillow", "ffcv"}


def test_what_is_not_installed_is_named_and_not_left_out(found):
    missing = encoders.ffcv_missing()
    told = bench.summary(found)["vs"]["reencode"]["ffcv"]
    assert told == missing if missing else told > 0


@pytest.mark.parametrize("missing", ["ffcv", "numba"])
def test_ffcv_that_does_not_import_says_why(monkeypatch, missing):
    monkeypatch.delitem(sys.modules, "ffcv.writer", raising=False)

    def fail(name, *_):
        if name.startswith("ffcv"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=fail), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "ffcv", raising=False)
    assert encoders.ffcv_missing() == {"ffcv": "not installed", "numba": "not installed whole: no numba"}[missing]


def test_ffcv_writes_pictures_of_the_same_size_and_quality(tmp_path):
    """Encoders of one library give the same bytes; those of two nearly as many."""
    reader = pytest.importorskip("ffcv.reader")
    with photo_set(None) as (_, files):
        encoders.write_by_ffcv(files[:10], tmp_path / "theirs", longest=200, quality=80)
        bench.build(bench.Files(files[:10]), tmp_path / "ours", quality=80, max_side=200)
    theirs = reader.Reader(tmp_path / "theirs")
    with ShardSet(tmp_path / "ours/train") as ours:
        shapes, size = ours.shapes(range(10)), sum(map(len, ours.read(range(10))))
    written = theirs.metadata["f0"]
    assert np.array_equal(shapes, np.stack([written["height"], written["width"]], 1))
    assert sum(theirs.alloc_table["size"]) == pytest.approx(size, rel=0.05)


def test_a_split_of_a_data_set_is_not_taken_for_the_data_set(tmp_path):
    with photo_set(None) as (_, files):
        bench.build(bench.Files(files[:5]), tmp_path)
    with pytest.raises(UserError, match=f"^{tmp_path / 'train'} is one split of a data set; give the folder"):
        bench.cases(tmp_path / "train")


def test_the_disk_is_the_limit_that_stands_beside_encoded_pictures_passed_through(found):
    for case in found[:2]:
        assert case["limit"] == pytest.approx(statistics.median(case["samples"]["disk"]), abs=0.1)


def test_the_disk_is_given_as_many_bytes(tmp_path):
    with photo_set(None, (40, 60), 8) as (_, files):
        bench._disk(files, tmp_path / "disk")
        assert (tmp_path / "disk").stat().st_size == sum(path.stat().st_size for path in files)


def test_all_write_the_same_pictures(tmp_path):
    with photo_set(None) as (_, files):
        files = files[:5]
        bench._h5py_vlen(files, tmp_path / "vlen")
        bench._flat(files, tmp_path / "flat")
        bench.build(bench.Files(files), tmp_path / "ours", check="header")
    with h5py.File(tmp_path / "vlen") as file, ShardSet(tmp_path / "ours/train") as ours:
        records = [record.tobytes() for record in ours.read(range(5))]
        assert [record.tobytes() for record in file["pictures"]] == records
    assert (tmp_path / "flat").read_bytes() == b"".join(records)
