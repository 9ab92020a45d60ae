"""The bench of feeding: the same records by every way, and two streams beside one of double the batch."""

from __future__ import annotations

import pytest
from fastlt.bench import feeding
from fastlt.bench.photos import photo_set


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as small:
        small.setattr("fastlt.bench.photos.COUNT", 16)
        small.setattr("fastlt.bench.raw.COUNT", 48)
        few = {"BATCH": 8, "BATCHES": 2, "ROUNDS": 2, "LOADED": 8, "LOADED_BATCHES": 2, "REST": 0.0}
        for name, value in few.items():
            small.setattr(feeding, name, value)
        yield feeding.cases(None)


def test_every_way_has_a_rate_for_each_size_beside_the_limit(found):
    ways = [case["name"] for case in found if "limit" in case]
    assert ways == ["fed", "checked", "lists", "ready"] * len(feeding.SIZES)
    assert all(case["records_per_second"] > 0 for case in found if "limit" in case)


def test_two_streams_are_held_against_one(found):
    two = next(case for case in found if case["name"] == "two streams")
    assert two["vs_one_stream"] > 0


def test_checked_records_are_checked_every_time(monkeypatch):
    with photo_set(None, (40, 60), 8) as (records, _):
        records.read([0, 1])
        monkeypatch.setattr(records, "_crc32", records._crc32 + 1)
        records.read([0, 1])  # was checked before
        with pytest.raises(Exception, match="is damaged"):
            feeding._checked(records, [0, 1])
