"""`verify` notices any changed byte of a data set."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_sources import counted

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.verify import verify
from fastlt.errors import UserError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    build(counted([4, 3]), out, workers=1, shard_mb=0.002)
    return out


def test_a_sound_set_has_no_problems(small):
    report = verify(small)
    assert report.problems == [] and report.records == 7 and report.splits == ["train"]
    assert report.bytes == sum(path.stat().st_size for path in small.glob("train/*.h5"))
    assert verify(small / "train").problems == []


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_of_any_file_is_noticed(small, data):
    path = data.draw(st.sampled_from(sorted(small.glob("train/*"))))
    whole = path.read_bytes()
    at, change = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
    try:
        assert any(path.name in problem for problem in verify(small).problems)
    finally:
        path.write_bytes(whole)


def test_damaged_records_are_named(small):
    with ShardSet(small / "train") as shards:
        at, (id,) = int(shards._offset[1]), shards.ids([1])
    path = small / "train" / "shard-00000.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    problems = verify(small).problems
    path.write_bytes(whole)
    assert len(problems) == 2
    assert "SHA-256 differs" in problems[0] and f"record 1 ({id}) at byte {at} is damaged" in problems[1]


def test_a_missing_shard_is_noticed(small):
    path = small / "train" / "shard-00001.h5"
    aside = path.rename(path.with_suffix(".aside"))
    problems = verify(small).problems
    aside.rename(path)
    assert any("shard-00001.h5 is missing" in problem for problem in problems)


def test_no_data_set_at_all(tmp_path):
    with pytest.raises(UserError, match="no shard set"):
        verify(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        verify(tmp_path / "nowhere")
