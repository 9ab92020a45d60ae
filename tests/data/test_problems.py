"""Problems of a source: as they were told, however many, and in little memory."""

import tracemalloc

import pytest
from made_sources import counted

from fastlt.data.build import build
from fastlt.data.manifest import SOURCE_PROBLEMS
from fastlt.data.sources import _problems
from fastlt.data.sources._problems import Problems


@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_they_come_out_as_they_went_in_again_and_again(monkeypatch, in_memory):
    monkeypatch.setattr(_problems, "IN_MEMORY", in_memory)
    problems, told = Problems(), [("a.csv line 3", "'ü.png' is no file"), ("b", "\udcff"), ("c", "r\rs")]
    assert not problems and list(problems) == []
    for number, problem in enumerate(told, 1):
        problems.append(problem)
        assert next(iter(problems)) == told[0]  # reading is no hindrance to adding
        assert len(problems) == number
    assert list(problems) == list(problems) == told


def test_each_is_one_line_with_one_tab():
    problems = Problems()
    problems.append(("a\tb", "c\nd\te"))
    assert list(problems) == [("a b", "c d e")]


def test_many_take_no_more_memory_than_few_and_all_are_listed(tmp_path):
    source, count = counted([2, 2]), 60_000
    tracemalloc.start()
    try:
        source.problems = Problems()
        for number in range(count):
            source.problems.append((f"table.csv line {number}", "is no file; the row is left out " * 3))
        assert sum(1 for _ in source.problems) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20  # of 7 MB of text
    report = build(source, tmp_path, workers=1, val=0)
    assert len((tmp_path / SOURCE_PROBLEMS).read_text().splitlines()) == count
    assert len(report.warnings) == 1 and report.warnings[0].startswith("60000 problems")
