"""What dataset.json keeps of how a data set was built, and that sets of earlier versions still open."""

import pytest
from made_sources import counted, encoded, pixels

from fastlt.data.build import build
from fastlt.data.manifest import NAME, read_manifest, seal, write_json
from fastlt.data.shards import ShardSet
from fastlt.data.verify import verify
from fastlt.errors import UserError
from fastlt.inspection import inspect
from fastlt.report.data_page import write_data_page


def rewritten(folder, **changes):
    """Changes dataset.json, with the right checksum; None takes a key out."""
    values = {key: value for key, value in {**read_manifest(folder), **changes}.items() if value is not None}
    write_json(folder / NAME, seal({key: values[key] for key in values if key not in ("format", "version")}))


@pytest.fixture
def folder(tmp_path):
    build(counted([3, 2]), tmp_path / "set", workers=1)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("settings", "check", "on_bad"),
    [
        ({}, "decode", "transcode"),  # few pictures
        ({"check": "header"}, "header", "transcode"),
        ({"check": "header", "on_bad": "skip"}, "header", "skip"),
        ({"on_bad": "fail"}, "decode", "fail"),
        ({"check": "header", "quality": 90}, "decode", "transcode"),  # what is encoded anew was decoded
        ({"check": "header", "raw": True}, "decode", "transcode"),
    ],
)
def test_how_pictures_were_checked_is_kept(tmp_path, settings, check, on_bad):
    report = build(counted([3, 2], image=encoded(pixels(0))), tmp_path, workers=1, **settings)
    kept = report.splits["train"]["checks"]
    assert (kept["check"], kept["on_bad"]) == (check, on_bad) and type(kept["dali"]) is bool
    assert inspect(tmp_path).checks == kept


def test_the_page_of_a_data_set_says_how_they_were_checked(folder, tmp_path):
    write_data_page(folder, inspect(folder), tmp_path / "page.html", 0)
    assert "every one decoded" in (tmp_path / "page.html").read_text()


def test_a_set_that_was_built_before_this_was_kept_opens_verifies_and_is_shown(folder, tmp_path):
    rewritten(folder / "train", checks=None)
    assert "checks" not in read_manifest(folder / "train")
    assert len(ShardSet(folder / "train")) == 5 and verify(folder).problems == []
    found = inspect(folder)
    write_data_page(folder, found, tmp_path / "page.html", 0)
    assert found.checks == {} and "decoded" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "checks",
    [
        [],
        "header",
        {"check": "header"},
        {"check": "none", "on_bad": "skip", "dali": True},
        {"check": "header", "on_bad": ["skip"], "dali": True},
        {"check": "header", "on_bad": "skip", "dali": 1},
        {"check": "header", "on_bad": "skip", "dali": True, "more": 1},
    ],
)
def test_checks_that_no_build_makes_are_refused(folder, checks):
    rewritten(folder / "train", checks=checks)
    with pytest.raises(UserError, match="checks .* makes no sense"):
        read_manifest(folder / "train")


def test_inspect_of_one_split_says_where_the_data_set_is(folder):
    with pytest.raises(UserError, match="train is one split of a data set; give the folder that it lies in"):
        inspect(folder / "train")
