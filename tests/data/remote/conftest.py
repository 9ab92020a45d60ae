"""A set, a server over it, and a cache of the test's own."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from http_server import serve  # noqa: E402
from made_sources import ListSource, encoded, pixels  # noqa: E402

from fastlt.data.item import Item  # noqa: E402
from fastlt.data.remote import transport  # noqa: E402


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setenv("FASTLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transport, "PAUSES", (0.0, 0.01, 0.05))
    monkeypatch.setattr(transport, "AT_FIRST", (0.0,))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A folder with train (five shards) and val."""
    from fastlt.data.build import build

    out = tmp_path_factory.mktemp("whole") / "set"
    items = [Item(f"{i}.png", encoded(pixels(i, 40, 60)), (i % 3,)) for i in range(42)]
    build(ListSource({"train": items}, classes=3), out, val=0.2, shard_mb=0.05, workers=1)
    return out


@pytest.fixture
def served(whole):
    """(address of the set, what the server may be told)"""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install fastlt[http]")
    with serve(whole.parent) as (address, faults):
        yield f"{address}/set", faults
