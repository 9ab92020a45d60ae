"""A large shard is finished by another thread while the next one is filled; nothing else changes by that."""

import pytest
import test_killed_builds
from made_sources import counted
from test_build import files

from fastlt.data import manifest, split_writer
from fastlt.data.build import build
from fastlt.data.shard_writer import ShardWriter
from fastlt.errors import UserError


@pytest.fixture
def every_shard_is_large(monkeypatch):
    monkeypatch.setattr(split_writer, "LARGE", 0)


def build_small_shards(out, **settings):
    return build(counted([20, 20]), out, val=0.2, shard_mb=0.003, workers=1, **settings)


def test_the_same_bytes(tmp_path, monkeypatch):
    build_small_shards(tmp_path / "at once")
    monkeypatch.setattr(split_writer, "LARGE", 0)
    assert len(build_small_shards(tmp_path / "meanwhile").splits["train"]["shards"]) > 4
    assert files(tmp_path / "meanwhile") == files(tmp_path / "at once")


def test_a_build_that_is_stopped_keeps_the_shard_that_was_being_finished(tmp_path, every_shard_is_large):
    def stop(split, done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_small_shards(tmp_path / "stopped", progress=stop)
    noted = [shard["file"] for shard in manifest.read_journal(tmp_path / "stopped/train")["shards"]]
    assert noted == sorted(path.name for path in (tmp_path / "stopped/train").glob("shard-*"))
    assert build_small_shards(tmp_path / "stopped").kept_shards == len(noted) > 2
    build_small_shards(tmp_path / "whole")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_full_disk_ends_the_build_in_one_line_and_it_goes_on_later(tmp_path, every_shard_is_large, monkeypatch):
    finish, finished = ShardWriter.finish, []

    def full(shard):
        finished.append(shard)
        if len(finished) == 3:
            raise UserError("the disk is full")
        return finish(shard)

    monkeypatch.setattr(ShardWriter, "finish", full)
    with pytest.raises(UserError, match="the disk is full"):
        build_small_shards(tmp_path)
    assert sorted(files(tmp_path / "train")) == ["build.json", "shard-00000.h5", "shard-00001.h5"]
    assert build_small_shards(tmp_path).kept_shards == 2


@pytest.mark.parametrize("overwrite", ["overwrite", "new"])
def test_killed_at_random_moments_and_run_again_it_gives_the_same_bytes(tmp_path, overwrite, monkeypatch):
    large = "from fastlt.data import split_writer\nsplit_writer.LARGE = 0\n"
    monkeypatch.setattr(test_killed_builds, "KILLED", large + test_killed_builds.KILLED)
    test_killed_builds.test_a_build_killed_at_random_moments_and_run_again_gives_the_same_bytes(tmp_path, overwrite)
