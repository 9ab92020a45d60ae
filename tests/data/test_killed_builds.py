"""A build may be killed at any moment, and two on one folder cannot harm each other."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from made_sources import counted

from fastlt.data import folder_lock, manifest
from fastlt.data.build import build
from fastlt.data.folder_lock import FolderLock
from fastlt.errors import UserError
from fastlt.hashing import integers, key

# Imports once, then forks a process for each moment. The audit hook is told of every file that is opened, renamed,
# removed and every folder that is made, before it happens.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.modules["nvidia.dali"] = None  # its threads do not outlive a fork
from made_sources import ListSource, counted, encoded, pixels
from fastlt.data.build import build
from fastlt.data.item import Item

OUT, OVERWRITE = Path(sys.argv[1]), sys.argv[2] == "overwrite"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")

def source():
    items = counted([9, 9])._items["train"]
    items[5] = Item("broken.png", b"broken", (0,))
    items[17] = Item("broken too.png", b"broken", (1,))
    return ListSource({"train": items, "test": items[:6]})

def run(out):
    build(source(), out, val=0.2, shard_mb=0.003, workers=1, overwrite=OVERWRITE, on_bad="skip")

def killed_at(moment):
    '''Kills a build before that step in the file system; how many steps there are, if it is never.'''
    read, write = os.pipe()
    if os.fork() == 0:
        steps = 0
        def count(event, arguments):
            nonlocal steps
            if event in EVENTS and str(arguments[0]).startswith(str(OUT)):
                steps += 1
                if steps == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        run(OUT)
        os.write(write, str(steps).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    steps = os.read(read, 100)
    os.close(read)
    return int(steps or 0)

def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}

def prepare():
    shutil.rmtree(OUT, ignore_errors=True)
    if OVERWRITE:  # a finished build of other data
        build(ListSource({"train": counted([4, 4])._items["train"], "val": counted([2, 2])._items["train"]}), OUT,
              shard_mb=0.002, workers=1)

whole = OUT.with_name("whole")
run(whole)
prepare()
steps = killed_at(None)
print(json.dumps(steps), flush=True)
for moments in json.loads(sys.stdin.readline()):
    prepare()
    for moment in moments:
        killed_at(moment)
    run(OUT)
    same = files(OUT) == files(whole)
    print(json.dumps(same), flush=True)
"""


def run_python(code, *arguments):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip


def assert_same_bytes_after_kills(tmp_path, overwrite, choose):
    """`choose`: from the number of steps to lists of moments at which builds are killed, one after the other."""
    with run_python(KILLED, tmp_path / "out", overwrite) as process:
        steps = int(process.stdout.readline())
        assert steps > 50
        moments = choose(steps)
        process.stdin.write(f"{moments}\n")
        same = process.stdout.read().split()
    assert process.returncode == 0
    assert same == ["true"] * len(moments)


@pytest.mark.parametrize("overwrite", ["overwrite", "new"])
def test_a_build_killed_at_random_moments_and_run_again_gives_the_same_bytes(tmp_path, overwrite):
    def choose(steps):
        once, first, second = (integers(key("kill", overwrite, i), np.arange(10), steps) + 1 for i in range(3))
        return [[int(k)] for k in once] + [[int(j), int(k)] for j, k in zip(first, second, strict=True)]

    assert_same_bytes_after_kills(tmp_path, overwrite, choose)


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", ["overwrite", "new"])
def test_a_build_killed_at_every_moment_and_run_again_gives_the_same_bytes(tmp_path, overwrite):
    assert_same_bytes_after_kills(tmp_path, overwrite, lambda steps: [[k] for k in range(1, steps + 1)])


class TestTwoBuilders:
    BUSY = """
        import sys
        from made_sources import counted
        from fastlt.data.build import build

        def wait(split, done, total):
            if (split, done) == ("train", 9):
                print("busy", flush=True)
                sys.stdin.readline()

        build(counted([9, 9]), sys.argv[1], val=0.2, shard_mb=0.002, workers=1, progress=wait)
        """

    @pytest.mark.parametrize(
        "second",
        [
            {"val": 0.2, "shard_mb": 0.002},
            {"val": 0.2, "shard_mb": 0.002, "overwrite": True},
            {"val": 0, "overwrite": True},
            {"val": 0.3, "shard_mb": 0.1, "seed": 3},
        ],
    )
    def test_the_second_ends_with_one_line_and_the_first_goes_on_unharmed(self, tmp_path, second):
        build(counted([9, 9]), tmp_path / "whole", val=0.2, shard_mb=0.002, workers=1)
        with run_python(self.BUSY, tmp_path / "out") as first:
            assert first.stdout.readline() == "busy\n"
            with pytest.raises(UserError, match=r"another build writes to .*; wait until it ends"):
                build(counted([9, 9]), tmp_path / "out", workers=1, **second)
            first.stdin.write("go on\n")
        assert first.returncode == 0
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")

    def test_nothing_is_left_of_the_lock_when_a_build_ends(self, tmp_path):
        build(counted([3, 3]), tmp_path, workers=1)
        assert sorted(contents(tmp_path)) == ["train/dataset.json", "train/shard-00000.h5"]

    def test_a_build_that_failed_holds_its_folder_no_longer(self, tmp_path):
        def stop(*_):
            raise UserError("stopped")

        with pytest.raises(UserError, match="stopped") as kept:
            build(counted([3, 3]), tmp_path, workers=1, progress=stop)
        assert sorted(contents(tmp_path)) == ["train/build.json"]
        build(counted([3, 3]), tmp_path, workers=1)
        assert kept.value

    def test_a_lock_file_that_was_left_behind_is_free(self, tmp_path):
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / folder_lock.NAME).touch()
        build(counted([3, 3]), tmp_path, workers=1)
        assert sorted(contents(tmp_path)) == ["train/dataset.json", "train/shard-00000.h5"]

    def test_a_lock_file_removed_by_its_holder_just_before_it_is_locked_is_made_again(self, tmp_path, monkeypatch):
        lock_it, calls = folder_lock.fcntl.flock, []

        def late(handle, operation):
            calls.append(operation)
            if len(calls) == 1:
                (tmp_path / folder_lock.NAME).unlink()
            return lock_it(handle, operation)

        monkeypatch.setattr(folder_lock.fcntl, "flock", late)
        held = FolderLock(tmp_path)
        assert len(calls) == 2
        with pytest.raises(UserError, match="another build writes to"):
            FolderLock(tmp_path)
        held.release()
        FolderLock(tmp_path).release()


class TestDamagedJournal:
    @pytest.fixture
    def folder(self, tmp_path):
        """Of a build that was stopped after two shards."""

        def stop(split, done, total):
            if (tmp_path / "train/shard-00001.h5").exists():
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(counted([9, 9]), tmp_path, shard_mb=0.002, workers=1, progress=stop)
        return tmp_path / "train"

    def build_again(self, folder):
        return build(counted([9, 9]), folder.parent, shard_mb=0.002, workers=1)

    @pytest.mark.parametrize(
        "text", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"fingerprint": 1}', b'{"format": NaN}']
    )
    def test_other_content(self, folder, text):
        (folder / manifest.JOURNAL).write_bytes(text)
        with pytest.raises(UserError, match=r"build\.json is damaged; remove it to start again"):
            self.build_again(folder)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("done", 7), ("done", -1), ("done", "3"), ("done", 2**70), ("counts", ["a"]), ("counts", None),
            ("shards", {}), ("shards", [3]), ("bad", [["a"]]), ("fingerprint", None),
        ],
    )  # fmt: skip
    def test_values_that_make_no_sense_in_spite_of_the_right_checksum(self, folder, name, value):
        values = manifest.read_journal(folder)
        manifest.write_json(folder / manifest.JOURNAL, manifest.seal({**values, name: value}))
        with pytest.raises(UserError, match=r"build\.json is damaged; remove it to start again"):
            self.build_again(folder)

    def test_any_changed_byte_is_noticed(self, folder):
        path = folder / manifest.JOURNAL
        whole = path.read_bytes()
        for at in integers(key("journal"), np.arange(60), len(whole)).tolist():
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(UserError, match="damaged"):
                self.build_again(folder)

    def test_removed_it_starts_again(self, folder):
        (folder / manifest.JOURNAL).unlink()
        assert self.build_again(folder).kept_shards == 0

    def test_it_goes_on_from_a_sound_one(self, folder):
        assert self.build_again(folder).kept_shards == 2


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
