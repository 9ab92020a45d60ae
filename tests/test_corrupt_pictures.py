"""Shards whose sums are right and whose pictures are not: no batch is lost, no process dies, and what is shown at a
position depends on the position and the files alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corrupted import ACCEPTED, OF_WINDOWS, REFUSED_AT_ONCE, REFUSED_LATER, WHOLE, corrupted

from fastlt.data.shards import ShardSet

KINDS = REFUSED_AT_ONCE | REFUSED_LATER | OF_WINDOWS | ACCEPTED | WHOLE
PLACES = {kind: 5 + 7 * number for number, kind in enumerate(KINDS)}
REFUSED = {PLACES[kind] for kind in REFUSED_AT_ONCE | REFUSED_LATER}


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    instead = {PLACES[kind]: data for kind, data in KINDS.items()} | {6: b"", 7: b"text"}  # a run of them: 5, 6, 7
    return corrupted(digits, tmp_path_factory.mktemp("corrupt") / "digits", instead) / "train"


@pytest.fixture(scope="module")
def loaded(folder):
    script = Path(__file__).with_name("load_corrupted.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_what_cannot_be_shown_is_found_and_counted_once(loaded):
    (window,) = (PLACES[kind] for kind in OF_WINDOWS)
    assert set(loaded["whole"]["bad"]) == REFUSED | {6, 7, window}


def test_it_is_never_shown_and_another_of_its_class_is(folder, loaded):
    with ShardSet(folder) as records:
        shown = np.concatenate([step[0] for step in loaded["whole"]["seen"]])[: len(records)]
        assert not set(shown.tolist()) & (REFUSED | {6, 7})
        assert sorted(records.labels(shown)) == sorted(records.labels(np.arange(len(records))))
    for kind in ACCEPTED | WHOLE:
        assert PLACES[kind] in shown


def test_a_picture_is_still_shown_where_the_window_decodes(loaded):
    (window,) = (PLACES[kind] for kind in OF_WINDOWS)
    drawn = [index for step in loaded["whole"]["seen"] for index in step[0] + step[1]]
    assert window in loaded["whole"]["bad"] and window in drawn


def test_ranks_change_nothing(loaded):
    joined = [
        [left + right for left, right in zip(*parts, strict=True)]
        for parts in zip(*(rank["seen"] for rank in loaded["ranks"]), strict=True)
    ]
    assert joined == loaded["whole"]["seen"]
    assert sorted(set().union(*(rank["bad"] for rank in loaded["ranks"]))) == loaded["whole"]["bad"]


def test_resuming_changes_nothing(loaded):
    assert loaded["resumed"]["seen"] == loaded["whole"]["seen"][3:]
    assert loaded["resumed"]["bad"] == loaded["whole"]["bad"]


def test_the_form_without_the_operator_shows_the_same_images(loaded):
    assert [step[:2] for step in loaded["graph"]["seen"]] == [step[:2] for step in loaded["whole"]["seen"]]
    assert loaded["graph"]["bad"] == loaded["whole"]["bad"]
