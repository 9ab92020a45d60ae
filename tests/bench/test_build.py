"""The figures of building: every contestant does the whole work, and every ratio is of rates of the same run."""

from __future__ import annotations

import statistics

import h5py
import pytest
from fastlt.bench import build as bench
from fastlt.bench.photos import photo_set

from fastlt.data.shards import ShardSet

PEERS = ("h5py_vlen", "tar", "flat")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as small:
        small.chdir(tmp_path_factory.mktemp("bench"))
        small.setattr("fastlt.bench.photos.COUNT", 12)
        for name, value in {"LEAST": 24, "DECODED": 8, "ENCODED": 4, "ROUNDS": 2}.items():
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
        assert {*PEERS} <= {*peers} or peers == ["pillow"]
        for peer in peers:
            pairs = zip(case["samples"][ours], case["samples"][peer], strict=True)
            assert case[f"vs_{peer}"] == pytest.approx(statistics.median(a / b for a, b in pairs), rel=0.02, abs=0.01)


def test_the_summary_names_every_peer(found):
    told = bench.summary(found)
    assert told["images_per_second"].keys() == told["vs"]["pass_through"].keys() == {"header", "decode"}
    assert all({*PEERS, "webdataset"} == ratios.keys() for ratios in told["vs"]["pass_through"].values())
    assert told["vs"]["reencode"].keys() == {"pillow", "ffcv"}


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
