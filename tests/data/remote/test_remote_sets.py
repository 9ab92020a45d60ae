"""A set at an address reads like the same set in a folder, however bad the link, and never gives wrong bytes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from fastlt.cli import commands
from fastlt.data import layout
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.remote import ahead, transport
from fastlt.data.remote.cache import Cache, NoRoom
from fastlt.data.shards import ShardSet
from fastlt.data.verify import verify
from fastlt.errors import UserError


def orders(size):
    """Batches of rows: in order, at random, all alike."""
    random = np.random.default_rng(0)
    return [np.arange(min(size, 9)), random.integers(0, size, 20), np.full(3, size - 1), np.arange(size)[::-1]]


def assert_same(remote, local):
    assert len(remote) == len(local)
    assert remote.classes == local.classes
    everything = np.arange(len(local))
    assert np.array_equal(remote.labels(everything), local.labels(everything))
    assert np.array_equal(remote.shapes(everything), local.shapes(everything))
    assert remote.ids(everything) == local.ids(everything)
    for rows in orders(len(local)):
        pairs = zip(remote.read(rows), local.read(rows), strict=True)
        assert all(np.array_equal(a, b) and not a.flags.writeable for a, b in pairs)


def test_raw_pictures_of_one_size_are_one_array_from_an_address_too(tmp_path):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install fastlt[http]")
    from http_server import serve
    from made_sources import ListSource, pixels

    items = [Item(str(i), pixels(i, 6, 5), (i % 3,)) for i in range(30)]
    build(ListSource({"train": items}, classes=3), tmp_path / "set", val=0.0, shard_mb=0.001, workers=1)
    with (
        serve(tmp_path) as (address, _),
        ShardSet(f"{address}/set/train") as remote,
        ShardSet(tmp_path / "set/train") as local,
    ):
        for rows in orders(30):
            remote.expect(rows)
            found = remote.read(rows)
            assert isinstance(found, np.ndarray) and np.array_equal(found, local.read(rows))


def wait_until(holds):
    """Background threads are at work; a bound on a defect, not a measure."""
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()


def cached(cache):
    """The shards that lie whole in the cache."""
    return sorted(path.name for path in cache.glob("*/shard-?????.h5"))


def shard_names(folder):
    return sorted(path.name for path in folder.glob("shard-*.h5"))


class TestAnHttpServer:
    @pytest.mark.parametrize("ranges", [True, False])
    def test_reads_like_a_folder(self, whole, served, ranges):
        address, faults = served
        faults.ranges = ranges
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            assert_same(remote, local)

    def test_opening_reads_no_record(self, whole, served):
        address, faults = served
        with ShardSet(f"{address}/train") as remote:
            for shard in remote.manifest["shards"]:
                place = shard["arrays"][layout.BYTES]
                for name, start, size in faults.asked:
                    outside = start + size <= place["at"] or start >= place["at"] + place["length"]
                    assert name != shard["file"] or outside

    def test_what_is_in_the_cache_is_not_asked_for_again(self, whole, served, cache):
        address, faults = served
        with ShardSet(f"{address}/train") as remote:
            remote.expect(np.arange(len(remote)))
            wait_until(lambda: cached(cache) == shard_names(whole / "train"))
        faults.asked.clear()
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            assert_same(remote, local)
        assert {name for name, _, _ in faults.asked} == {"dataset.json"}

    def test_neighbours_come_by_one_request(self, served):
        address, faults = served
        with ShardSet(f"{address}/train") as remote:
            faults.asked.clear()
            remote.read(np.arange(len(remote)))
            assert len(faults.asked) == len(remote.manifest["shards"])

    @pytest.mark.parametrize("ranges", [True, False])
    def test_links_that_are_cut_are_mended(self, whole, served, ranges, cache):
        address, faults = served
        faults.ranges = ranges
        begun = Counter()
        faults.cut = lambda path, number: path.startswith("shard") and number - begun[path] in (1, 2)
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            begun.update(faults.counts)  # what opening asked for was cut, and what comes now is
            remote.expect(np.arange(len(local)))  # is not read, so that whole shards stay wanted to the end
            for rows in orders(len(local)):
                remote.expect(rows)
            assert_same(remote, local)
            wait_until(lambda: cached(cache) == shard_names(whole / "train"))

    def test_a_cut_link_costs_one_piece_of_a_shard(self, whole, served, monkeypatch, cache):
        from fastlt.data.remote import files

        address, faults = served
        monkeypatch.setattr(files, "PIECE", 9000)
        with ShardSet(f"{address}/train") as remote:
            first, size = remote.manifest["shards"][0]["file"], remote.manifest["shards"][0]["bytes"]
            faults.asked.clear()
            begun = faults.counts[first]
            faults.cut = lambda path, number: path == first and number == begun + 3
            remote._files._fetch_whole(0)
        starts = [start for name, start, _ in faults.asked if name == first]
        assert sorted(set(starts)) == list(range(0, size, 9000)) and len(starts) == len(set(starts)) + 1
        assert (cache / next(cache.glob(f"*/{first}"))).read_bytes() == (whole / "train" / first).read_bytes()

    def test_a_server_that_is_busy_for_a_while(self, whole, served):
        address, faults = served
        faults.status = lambda path, number: 503 if path.startswith("shard") and number % 3 else None
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            assert_same(remote, local)

    def test_a_slow_link_is_waited_for(self, whole, served):
        address, faults = served
        faults.bytes_per_second = 150_000
        with ShardSet(f"{address}/val") as remote, ShardSet(whole / "val") as local:
            assert_same(remote, local)

    def test_bytes_that_come_wrong_once_are_never_seen(self, whole, served, cache):
        address, faults = served
        seen = set()

        def once(path, number, start, data):
            if not path.startswith("shard") or (path, start, len(data)) in seen:
                return data
            seen.add((path, start, len(data)))
            return data[:-1] + bytes([data[-1] ^ 1])

        faults.change = once
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            remote.expect(np.arange(len(local)))
            assert_same(remote, local)
            wait_until(lambda: cached(cache) == shard_names(whole / "train"))
        for name in cached(cache):
            assert next(cache.glob(f"*/{name}")).read_bytes() == (whole / "train" / name).read_bytes()

    def test_a_record_that_is_always_wrong_is_named(self, served):
        address, faults = served
        with ShardSet(f"{address}/train") as remote:
            place = remote.manifest["shards"][1]["arrays"][layout.BYTES]["at"]
            faults.change = flip("shard-00001.h5", place)
            first = int(remote._first[1])
            assert len(remote.read([first + 1])) == 1
            with pytest.raises(UserError, match=rf"{address}/train/shard-00001.h5: record 0 .* is damaged; "):
                remote.read([0, first])

    def test_arrays_that_are_always_wrong_are_refused(self, served):
        address, faults = served
        faults.change = lambda path, number, start, data: bytes(len(data)) if path == "shard-00002.h5" else data
        with pytest.raises(UserError, match=rf"{address}/train/shard-00002.h5: its arrays are not what was written"):
            ShardSet(f"{address}/train")

    def test_a_shard_of_another_sum_is_never_kept(self, whole, served, cache):
        """Its records are right, so the run goes on with them."""
        address, faults = served
        faults.change = flip("shard-00000.h5", 9)
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            with pytest.raises(UserError, match="shard-00000.h5 is not what was written: its SHA-256 differs"):
                remote._files._fetch_whole(0)
            assert cached(cache) == []
            assert_same(remote, local)

    def test_a_copy_that_is_damaged_in_the_cache_is_fetched_anew(self, whole, served, cache):
        address, _ = served
        with ShardSet(f"{address}/train") as remote:
            for shard in range(len(remote.manifest["shards"])):
                remote._files._fetch_whole(shard)
        for path in cache.glob("*/*"):
            data = bytearray(path.read_bytes())
            data[len(data) // 3 :: 7] = bytes(len(data[len(data) // 3 :: 7]))
            path.write_bytes(data)
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            assert_same(remote, local)

    def test_a_shard_that_is_missing(self, whole, served):
        address, faults = served
        faults.status = lambda path, number: 404 if path == "shard-00001.h5" else None
        with pytest.raises(UserError, match=rf"{address}/train/shard-00001.h5 is missing; "):
            ShardSet(f"{address}/train")

    @pytest.mark.parametrize(
        ("suffix", "message"),
        [
            ("", r"holds the splits train, val; give one of them, such as http.*/set/train"),
            ("/test", r"/set/test has no dataset.json, so it is no shard set"),
        ],
    )
    def test_an_address_without_a_set(self, served, suffix, message):
        with pytest.raises(UserError, match=message):
            ShardSet(served[0] + suffix)

    @pytest.mark.parametrize("text", ["http://", "s3:///"])
    def test_an_address_of_nothing(self, text):
        with pytest.raises(UserError, match="names no place; give an address such as s3://bucket/set"):
            ShardSet(text)

    def test_a_server_that_refuses(self, served):
        address, faults = served
        faults.status = lambda path, number: 403
        with pytest.raises(UserError, match=rf"{address}/train/dataset.json cannot be read: .*403.*; look at address"):
            ShardSet(f"{address}/train")
        assert faults.counts["dataset.json"] == 1

    def test_a_server_that_is_not_there(self):
        pytest.importorskip("aiohttp")
        with pytest.raises(UserError, match=r"http://127.0.0.1:9/a/dataset.json cannot be read: .*; look at") as found:
            ShardSet("http://127.0.0.1:9/a")
        assert "\n" not in str(found.value)

    def test_verify_looks_at_what_lies_there_now(self, whole, served, cache):
        address, faults = served
        with ShardSet(f"{address}/val") as remote:
            remote._files._fetch_whole(0)
        sound = verify(f"{address}/val")
        assert sound.problems == [] and sound.bytes == verify(whole / "val").bytes and sound.splits == ["val"]
        faults.change = flip("shard-00000.h5", 9)
        problems = verify(f"{address}/val").problems
        assert any("shard-00000.h5 is not what was written" in line and address in line for line in problems)
        assert not [*cache.glob("verify-*")]


def flip(file, at):
    """A server's answers with byte `at` of a file changed."""

    def change(path, number, start, data):
        if path != file or not start <= at < start + len(data):
            return data
        return data[: at - start] + bytes([data[at - start] ^ 255]) + data[at - start + 1 :]

    return change


class TestTheCacheOfARun:
    def test_a_set_larger_than_the_cache_is_read_all_the_same(self, whole, served, monkeypatch, cache):
        address, _ = served
        limit = 150_000
        monkeypatch.setenv("FASTLT_CACHE_GB", str(limit / 1e9))
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            for rows in orders(len(local)) * 3:
                remote.expect(rows)
                assert_same(remote, local)
                assert sum(512 * path.stat().st_blocks for path in cache.rglob("*")) <= limit

    def test_read_in_order_shards_pass_through_a_small_cache(self, whole, served, monkeypatch, cache):
        address, faults = served
        with ShardSet(f"{address}/train") as remote:
            shards = [shard["bytes"] for shard in remote.manifest["shards"]]
        used = Cache.of_this_host()._used()
        monkeypatch.setenv("FASTLT_CACHE_GB", str((used + 2 * max(shards) + 20_000) / 1e9))
        monkeypatch.setattr(ahead, "FULL", 0.01)
        with ShardSet(f"{address}/train") as remote:
            for shard in range(len(shards)):
                rows = np.flatnonzero(remote._shard_of(np.arange(len(remote))) == shard)
                remote.expect(rows)
                wait_until(lambda s=shard: f"shard-{s:05d}.h5" in cached(cache))
                remote.read(rows)
        assert len(cached(cache)) < len(shards) and cached(cache)[-1] == f"shard-{len(shards) - 1:05d}.h5"

    def test_a_shard_that_is_needed_next_stays(self, whole, served, monkeypatch, cache):
        address, _ = served
        with ShardSet(f"{address}/train") as remote:
            first = np.flatnonzero(remote._shard_of(np.arange(len(remote))) == 0)
            remote.expect(first)
            wait_until(lambda: cached(cache) == ["shard-00000.h5"] and 0 in remote._files._held)
            os.utime(next(cache.glob("*/shard-00000.h5")), (0, 0))
            tight = Cache(cache, Cache.of_this_host()._used() + 1)
            with pytest.raises(NoRoom):
                tight.fill("a/b", [(0, 1 << 20)], lambda handle: None)
            while tight._give_up_oldest(cache):
                pass
            assert cached(cache) == ["shard-00000.h5"]
            remote.read(first)
            assert tight._give_up_oldest(cache) > 0 and cached(cache) == []

    def test_a_full_disk_does_not_end_a_run(self, whole, served, monkeypatch, cache):
        import resource

        address, _ = served
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            try:
                with pytest.warns(UserWarning, match="the disk of the cache is full"):
                    remote.expect(np.arange(len(local)))
                    wait_until(lambda: remote._files._ahead._said)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert_same(remote, local)

    def test_a_cache_without_any_room(self, whole, served, monkeypatch, cache):
        monkeypatch.setenv("FASTLT_CACHE_GB", "0")
        with ShardSet(f"{served[0]}/train") as remote, ShardSet(whole / "train") as local:
            remote.expect(np.arange(len(local)))
            assert_same(remote, local)
        assert cached(cache) == []

    def test_where_not_even_memory_takes_the_arrays_it_is_one_line(self, served):
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(UserError, match=r"shard-00000.h5: its arrays cannot be held: .*; free some space"):
                ShardSet(f"{served[0]}/train")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_a_cache_that_cannot_be_written_is_one_line(self, served, cache):
        cache.write_text("a file")
        with pytest.raises(UserError, match=r"the cache .* cannot be written: .*; name another folder in FASTLT_CACHE"):
            ShardSet(f"{served[0]}/train")

    def test_a_cache_without_room_is_no_fault_of_the_set(self, served, monkeypatch, cache):
        monkeypatch.setenv("FASTLT_CACHE_GB", "0")
        with pytest.raises(UserError, match=r"the cache .* has no room for .*shard-00000.h5; raise FASTLT_CACHE_GB"):
            verify(f"{served[0]}/val")
        assert not [*cache.glob("verify-*")]

    @pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
    def test_a_size_that_is_none(self, served, monkeypatch, text):
        monkeypatch.setenv("FASTLT_CACHE_GB", text)
        with pytest.raises(UserError, match="FASTLT_CACHE_GB is .*; give the size of the cache in GB"):
            ShardSet(f"{served[0]}/train")

    def test_several_threads_read_while_shards_come_and_go(self, whole, served, monkeypatch):
        address, _ = served
        monkeypatch.setenv("FASTLT_CACHE_GB", str(150_000 / 1e9))
        faults = []
        with ShardSet(f"{address}/train") as remote, ShardSet(whole / "train") as local:

            def reader(seed):
                random = np.random.default_rng(seed)
                for _ in range(4):
                    rows = random.integers(0, len(local), 9)
                    remote.expect(rows)
                    same = zip(remote.read(rows), local.read(rows), strict=True)
                    faults.extend(0 for a, b in same if not np.array_equal(a, b))

            threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert faults == [] and remote._files._ahead.need == {}


class TestHostileSets:
    def claim(self, whole, tmp_path, change):
        """A copy of the set whose manifest says something else, with a checksum that fits."""
        from fastlt.data import manifest

        values = json.loads((whole / "train/dataset.json").read_text())
        for key in ("checksum", "format", "version"):
            del values[key]
        change(values)
        (tmp_path / "set/train").mkdir(parents=True)
        for path in (whole / "train").glob("*.h5"):
            (tmp_path / "set/train" / path.name).write_bytes(path.read_bytes())
        manifest.write_json(tmp_path / "set/train/dataset.json", manifest.seal(values))
        return tmp_path

    def opened(self, folder, monkeypatch):
        from http_server import serve

        pytest.importorskip("aiohttp")
        monkeypatch.setattr(transport, "PAUSES", ())
        with serve(folder) as (address, _):
            ShardSet(f"{address}/set/train")

    def test_a_shard_said_to_be_huge_takes_neither_memory_nor_disk(self, whole, tmp_path, monkeypatch, cache):
        def change(values):
            values["shards"][0]["bytes"] = 1 << 60

        with pytest.raises(UserError, match="no room for"):
            self.opened(self.claim(whole, tmp_path, change), monkeypatch)
        assert all(path.stat().st_blocks * 512 < 1 << 20 for path in cache.rglob("*"))

    def test_a_file_name_that_leads_elsewhere(self, whole, tmp_path, monkeypatch):
        def change(values):
            values["shards"][0]["file"] = "../../secret.h5"

        with pytest.raises(UserError, match="makes no sense"):
            self.opened(self.claim(whole, tmp_path, change), monkeypatch)


READER = """
import sys, time
import numpy as np
from fastlt.data.shards import ShardSet
with ShardSet(sys.argv[1]) as remote:
    everything = np.arange(len(remote))
    remote.expect(everything)
    print("expects", flush=True)
    while not all(shard in remote._files._held for shard in range(len(remote.manifest["shards"]))):
        time.sleep(0.01)
    print(len(remote.read(everything)), flush=True)
"""


class TestProcessesOfOneHost:
    def start(self, address):
        return subprocess.Popen(
            [sys.executable, "-c", READER, address], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    def test_each_shard_is_fetched_once(self, whole, served, cache):
        address, faults = served
        faults.bytes_per_second = 400_000
        with self.start(f"{address}/train") as one, self.start(f"{address}/train") as other:
            for process in (one, other):
                assert process.stdout.read().split()[-1] == "33"
        starts = [name for name, start, size in faults.asked if start == 0 and size > 20_000]
        assert sorted(starts) == shard_names(whole / "train") == cached(cache)

    def test_what_a_killed_one_began_is_no_obstacle(self, whole, served, cache):
        address, faults = served
        faults.bytes_per_second = 100_000
        with self.start(f"{address}/train") as killed:
            assert killed.stdout.readline() == "expects\n"
            wait_until(lambda: any(cache.glob("*/*.h5.partial")))
            killed.kill()
        assert any(cache.glob("*/*.partial"))
        faults.bytes_per_second = None
        with self.start(f"{address}/train") as other:
            assert other.stdout.read().split()[-1] == "33"
        assert cached(cache) == shard_names(whole / "train") and not any(cache.glob("*/*.partial"))


def test_gans_make_pictures_of_those_that_lie_there(served, whole, tmp_path):
    address, _ = served
    small = ["--size", "64x64", "--channels", "1", "--iterations", "3", "--device", "cpu", "--at-once", "40"]
    commands.main(["augment", "ml-wgan", address, "--out", str(tmp_path / "made"), *small], standalone_mode=False)
    assert len(ShardSet(tmp_path / "made/train")) == 3 * len(ShardSet(whole / "train"))
