"""The bench of the loader: every contestant gives whole batches, the absent are named, and figures are of samples."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pytest
import torch
from fastlt.bench import SUBJECTS, loader, peers, treated
from fastlt.bench import tables as shown

from fastlt.cli.machine import BENCHES


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as small:
        small.setattr("fastlt.bench.photos.COUNT", 24)
        small.setattr("fastlt.bench.raw.COUNT", 48)
        few = {
            "BATCH": 8,
            "BATCHES": 2,
            "SMALL_BATCHES": 3,
            "OTHER_BATCHES": (4,),
            "LARGER": {(300, 400): 16},
            "ROUNDS": 2,
            "REST": 0.0,
        }
        for name, value in few.items():
            small.setattr(loader, name, value)
        for name, value in {
            "SIZE": (300, 400),
            "COUNT": 16,
            "BATCH": 8,
            "LARGE": (900, 1200),
            "LARGE_COUNT": 8,
        }.items():
            small.setattr(treated, name, value)
        yield loader.cases(None)


def of(found, name):
    return [case for case in found if case["name"] == name]


def test_every_peer_has_a_row_or_is_said_to_be_absent(found):
    for name in peers.NAMES:
        first = of(found, name)[0]
        assert first.get("absent") == peers.ABSENT if peers.missing(name) else first["images_per_second"] > 0


def test_the_summary_names_all_that_is_asked_for(found):
    told = loader.summary(found)
    assert told["vs"].keys() == {*peers.NAMES, "region_decode"}
    assert {"pillow", "torchvision", "dali", "ffcv", "region_decode"} <= told["vs"].keys()
    assert all(value is not None for value in told["vs"].values())


def test_ratios_are_of_the_samples_of_the_same_rounds(found):
    ours, pillow = of(found, "fastlt")[0], of(found, "pillow")[0]
    pairs = zip(ours["samples"]["fastlt"], pillow["samples"]["pillow"], strict=True)
    assert ours["vs_pillow"] == pytest.approx(statistics.median(a / b for a, b in pairs), rel=0.02)


def test_cores_batches_sizes_and_a_cold_cache_have_rows_of_their_own(found):
    settings = {case["setting"] for case in of(found, "fastlt")}
    assert len(settings) == len(of(found, "fastlt"))
    for part in ("cold", "batch 4", "400 x 300", "raw 32 x 32"):
        assert any(part in words for words in settings), part


def test_pictures_that_building_made_smaller_have_rows_beside_the_same_as_they_are(found):
    plain, smaller, coarser, *_ = [case for case in of(found, "fastlt") if "bytes_per_picture" in case]
    assert "as they are" in plain["setting"] and plain["bytes_per_picture"] > 0
    for row, words in ((smaller, "--max-side 320"), (coarser, "--quality 75")):
        assert words in row["setting"] and row["bytes_per_picture"] < plain["bytes_per_picture"]
        own, reference = row["samples"]["built with " + words], plain["samples"]["as they are"]
        expected = statistics.median(a / b for a, b in zip(own, reference, strict=True))
        assert row["vs_as_they_are"] == pytest.approx(expected, rel=0.02)


def test_large_pictures_decoded_at_a_fraction_have_a_row_beside_the_same_in_full(found):
    full, scaled = [case for case in of(found, "fastlt") if case["setting"].startswith("1200 x 900")]
    assert "as they are" in full["setting"] and "scaled_decoding" in scaled["setting"]
    own, reference = scaled["samples"]["with pipeline.scaled_decoding"], full["samples"]["as they are"]
    expected = statistics.median(a / b for a, b in zip(own, reference, strict=True))
    assert scaled["vs_as_they_are"] == pytest.approx(expected, rel=0.02)


def test_the_limit_stands_beside_our_figure(found):
    first = of(found, "fastlt")[0]
    assert first["limit"] == of(found, "region_decode")[0]["images_per_second"]


@pytest.fixture(scope="module")
def setting():
    with loader._photos(None, (90, 120), 48) as setting:
        yield setting


@pytest.mark.parametrize("name", peers.NAMES)
def test_what_a_peer_gives_is_a_float_batch_of_normalised_pictures(setting, name):
    if peers.missing(name):
        pytest.skip(f"{name} is not installed")
    with peers.batches(name, setting) as flow:
        for images in itertools.islice(flow, 2):
            assert images.shape == (setting.batch, 3, 224, 224) and images.dtype == torch.float32
            assert -2.2 < images.min() < 0 < images.max() < 2.7


def test_table_and_plot_show_every_case_and_who_is_absent(found, tmp_path):
    machine = {"processor": "p", "usable_cores": 2, "gpus": [], "versions": {}, "peers": {"ffcv": None}, "load": None}
    run = {"subject": "loader", "machine": machine, "cases": [*found, {"name": "gone", "absent": peers.ABSENT}]}
    shown.write_report(run, tmp_path / "out")
    text = (tmp_path / "out/bench.md").read_text()
    assert len(text.splitlines()) == 4 + len(run["cases"])
    assert "absent: ffcv" in text and "| gone | not installed |" in text
    assert (Path(tmp_path) / "out/bench.png").stat().st_size > 10_000


def test_the_command_knows_every_subject():
    assert BENCHES == SUBJECTS
