"""Ranks of one machine hold one copy of a set's index, and see what each would see alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlt.data.shards import ShardSet
from fastlt.shared_arrays import one_copy_a_host

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


def in_two_ranks(folder: Path, *arguments) -> list[dict]:
    script = str(Path(__file__).with_name("shared_arrays_rank.py"))
    started = [subprocess.Popen([sys.executable, script, str(r), "2", str(folder), *arguments]) for r in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    return [json.loads((folder / f"found{r}.json").read_text()) for r in range(2)]


def test_two_ranks_see_one_memory_and_what_one_process_sees(scenes, tmp_path):
    first, second = in_two_ranks(tmp_path, str(scenes / "train"))
    assert first == second  # also the inodes of the memory
    assert first["memory"] and not first["writable"]
    with ShardSet(scenes / "train") as records:
        rows = np.arange(len(records))
        assert first["labels"] == records.labels(rows).tolist()
        assert first["shapes"] == records.shapes(rows).tolist()
        assert first["sums"] == [part.tolist() for part in records.sums(rows)]
        assert first["members"] == [part.tolist() for part in records.class_members()]
        assert first["bytes"] == [record.tobytes().hex() for record in records.read(rows[:3])]


def test_what_the_first_rank_finds_wrong_ends_every_rank(tmp_path):
    assert in_two_ranks(tmp_path) == [{"error": "rank 0 finds the set damaged"}] * 2


def test_alone_nothing_is_shared():
    assert one_copy_a_host(lambda empty: {"a": empty(3, np.int8)})["a"].flags.writeable
