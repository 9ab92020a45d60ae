"""A set in an object store (moto's S3 server, over a real socket) is trained on as if it lay in a folder."""

import pytest

pytest.importorskip("s3fs", reason="s3:// needs s3fs: pip install fastlt[s3]")
pytest.importorskip("moto", reason="the tests' object store: pip install moto[server]")
pytest.importorskip("flask", reason="the tests' object store: pip install moto[server]")

import numpy as np
import torch

from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.data.verify import verify
from fastlt.errors import UserError
from fastlt.loader import Loader, Placement


@pytest.fixture(scope="module")
def store():
    """The address of an empty bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="module")
def stored(store, whole):
    import s3fs

    s3fs.S3FileSystem().put(str(whole), f"{store}/set", recursive=True)
    return f"{store}/set"


SPECS = {
    "plain": StreamSpec(StreamConfig(sampling="uniform")),
    "even": StreamSpec(StreamConfig(sampling="class_balanced")),
}


def batches(records, steps, place, begin=0):
    pipeline, data = PipelineConfig(size=16), DataConfig(path=".", threads=1)
    with Loader(records, SPECS, pipeline, 8, 5, data, place) as loader:
        loader.seek(begin, set())
        return [next(loader) for _ in range(steps)]


@pytest.mark.parametrize("cache_bytes", [10**9, 150_000])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_sees_the_same_batches_as_from_a_folder(stored, whole, monkeypatch, cache_bytes, rank):
    monkeypatch.setenv("FASTLT_CACHE_GB", str(cache_bytes / 1e9))
    place = Placement(rank=rank, ranks=2)
    with ShardSet(f"{stored}/train") as remote, ShardSet(whole / "train") as local:
        expected = batches(local, 8, place)
        for begin, steps in ((0, 8), (5, 3)):  # and after a resume
            for a, b in zip(batches(remote, steps, place, begin), expected[begin:], strict=True):
                for name in SPECS:
                    assert torch.equal(a.images[name], b.images[name])
                    assert torch.equal(a.labels[name], b.labels[name])
                    assert torch.equal(a.index[name], b.index[name])
        assert remote._files._ahead.need == {}, "nothing is held for a run that ended"


def test_it_is_verified_and_its_absence_named(stored):
    assert verify(f"{stored}/val").problems == []
    with pytest.raises(UserError, match="s3://bucket/none has no dataset.json"):
        ShardSet("s3://bucket/none")
    with pytest.raises(UserError, match="s3://nobodys/set/dataset.json|s3://nobodys/set has no dataset.json"):
        ShardSet("s3://nobodys/set")


def test_a_bucket_is_not_made_by_a_slip(store, monkeypatch):
    import s3fs
    from made_sources import counted

    from fastlt.data.build import build

    with pytest.raises(UserError, match="s3://buckte/set/train/build.json cannot be written: .*; see to it"):
        build(counted([4, 4]), "s3://buckte/set", workers=1)
    assert s3fs.S3FileSystem().ls("", refresh=True) == ["bucket"]


def test_it_can_be_cut_anew(stored, whole, tmp_path):
    from fastlt.data.build import build
    from fastlt.data.sources import open_source

    with ShardSet(whole / "train") as local:
        build(open_source("shards", stored), tmp_path / "again", workers=1)
        with ShardSet(tmp_path / "again/train") as again:
            rows = np.arange(len(local))
            assert again.ids(rows) == local.ids(rows)
            assert all(np.array_equal(a, b) for a, b in zip(again.read(rows), local.read(rows), strict=True))
