"""Rates are of what was done in the time it took, contestant by contestant, turn by turn."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from fastlt.bench import timing
from fastlt.bench.cpu_time import cpu_seconds
from fastlt.bench.page_cache import evict, resident_share


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless somebody works or rests."""
    state = {"now": 0.0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: state["now"])
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: state.update(now=state["now"] + seconds))
    return state


def flow(clock, name, seconds, turns):
    while True:
        turns.append(name)
        clock["now"] += seconds
        yield 4


def test_iterators_go_turn_by_turn_and_only_what_comes_behind_the_lead_counts(clock):
    turns, prepared = [], []
    flows = {"a": flow(clock, "a", 1.0, turns), "b": flow(clock, "b", 2.0, turns)}
    rates, _ = timing.flows_in_turn(flows, 3, 2, 2, 0.5, lambda: prepared.append(len(turns)))
    assert rates == {"a": [4.0, 4.0], "b": [2.0, 2.0]}
    assert turns == (["a"] * 5 + ["b"] * 5) * 3  # one round to warm up
    assert prepared == [2, 7, 12, 17, 22, 27]  # after the lead of each turn


def test_a_case_gives_median_range_ratios_by_round_and_every_sample():
    found = timing.case("a", {"a": [10.0, 30.0, 20.0], "b": [5.0, 5.0, 40.0]}, "images", "b")
    assert found == {
        "name": "a", "images_per_second": 20.0, "lowest": 10.0, "highest": 30.0, "vs_b": 2.0,
        "samples": {"a": [10.0, 30.0, 20.0]},
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processor_time_of_children_that_live_counts():
    begin = cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while cpu_seconds() < begin + 0.2:
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise")
def test_a_file_that_was_just_written_is_in_memory_and_can_be_forgotten(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    assert resident_share([path]) == 1
    evict([path])
    assert resident_share([path]) in (0, 1)  # 1 on a file system that lives in memory
    assert len(path.read_bytes()) == 1 << 20
