"""Processes prepare the same pictures in the same order, and leave nothing behind however the build ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from made_sources import ListSource, encoded, pixels
from test_build import files, mixed

from fastlt.data import workers
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.pictures import Checks, Treatment, prepare_all
from fastlt.data.shared_slots import SLOT, Placed
from fastlt.errors import UserError

PLAIN, RULES = Treatment(), Checks(decode=False, dali=False)


@pytest.fixture
def received(monkeypatch):
    """What other processes sent; the builder waits for them, instead of working alone until they are up."""
    found = []
    receive = workers._Processes._receive

    def up(self):
        if self._pool is None:
            self._start()
        return self._first.result() > 0

    monkeypatch.setattr(workers._Processes, "_are_up", up)
    monkeypatch.setattr(workers._Processes, "_receive", lambda self, got: found.extend(got) or receive(self, got))
    return found


def items_of(images):
    return [Item(str(number), image, (0,)) for number, image in enumerate(images)]


def prepared_by(count, images, treatment=PLAIN, checks=RULES):
    with workers.prepared(None, count, treatment, checks) as prepare:
        kept = [
            (item.id, getattr(got, "crc32", None), copy(got))
            for item, got in prepare(iter(items_of(images)), len(images))
        ]
    assert [id for id, _, _ in kept] == [str(number) for number in range(len(images))]
    return [got for _, _, got in kept]


def copy(got):
    return got if isinstance(got, str) else (bytes(got.data), got.height, got.width)


class TestSeveralProcesses:
    def test_they_give_what_one_gives(self, received, tmp_path):
        many = [encoded(pixels(seed), kind) for seed in range(40) for kind in ("JPEG", "PNG", "GIF", "WEBP")]
        images = [*many, b"broken", tmp_path / "gone.png", pixels(3)] * 3
        (tmp_path / "there.png").write_bytes(many[1])
        images.append(tmp_path / "there.png")
        assert len(images) > 10 * workers.CHUNK
        assert prepared_by(3, images) == prepared_by(1, images)
        assert sum(isinstance(got, Placed) for got in received) > workers.CHUNK

    def test_what_finds_no_room_in_shared_memory_comes_all_the_same(self, received):
        images = [pixels(seed, 400, 600) for seed in range(4)] * 24
        raw = Treatment(raw=True)
        assert workers.CHUNK * images[0].nbytes > SLOT
        assert prepared_by(2, images, raw) == prepared_by(1, images, raw)
        assert any(not isinstance(got, Placed) for got in received)

    def test_a_build_by_them_has_the_same_bytes(self, received, tmp_path):
        for count in (1, 2, 4):
            build(mixed(), tmp_path / str(count), val=0.2, shard_mb=0.02, workers=count)
        one, two, four = (files(tmp_path / str(count)) for count in (1, 2, 4))
        assert one == two == four and received

    def test_they_are_not_started_where_the_work_is_done_at_once(self, monkeypatch):
        monkeypatch.setattr(workers, "ProcessPoolExecutor", None)
        assert len(prepared_by(2, [encoded(pixels(0))] * 100)) == 100

    @pytest.mark.parametrize(("worth", "started"), [(1e-6, True), (1e6, False)])
    def test_they_are_started_where_enough_is_left_for_them(self, monkeypatch, worth, started):
        assert self.starts(monkeypatch, worth=worth) == started

    @pytest.mark.parametrize(("handed_over", "started"), [(0, True), (1, False)])
    def test_they_are_started_where_an_image_takes_longer_than_to_hand_it_over(self, monkeypatch, handed_over, started):
        assert self.starts(monkeypatch, handed_over=handed_over) == started

    def starts(self, monkeypatch, worth=0, handed_over=0):
        starts = []
        monkeypatch.setattr(workers, "ALONE", 0)
        monkeypatch.setattr(workers, "WORTH", worth)
        monkeypatch.setattr(workers, "HANDED_OVER", handed_over)
        start = workers._Processes._start
        monkeypatch.setattr(workers._Processes, "_start", lambda self: starts.append(self) or start(self))
        prepared_by(2, [encoded(pixels(0))] * 200)
        return len(starts)

    def test_one_that_is_killed_ends_the_build_with_one_line(self, received):
        images = iter(items_of([encoded(pixels(0))] * 2000))
        processes = workers._Processes(2, partial(prepare_all, treatment=PLAIN, checks=RULES))
        preparing = processes.prepare(images, 2000)
        try:
            next(preparing)
            for process in processes._pool._processes.values():
                process.kill()
            with pytest.raises(UserError, match="a worker process was ended from outside") as found:
                list(preparing)
            assert "\n" not in str(found.value)
        finally:
            processes.end()


LASTING = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    from fastlt.data import workers
    from fastlt.data.build import build
    from made_sources import counted
    if __name__ == "__main__":
        def say(split, done, total):
            if done == 200:
                print("busy", flush=True)
        workers.ALONE = workers.WORTH = 0
        try:
            build(counted([400, 400]), sys.argv[1], workers=3, quality=50, progress=say)
        except KeyboardInterrupt:
            sys.exit(3)
    """


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux lists them")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_build_that_is_ended(tmp_path, signal_number):
    """Ctrl-C goes to all processes of a terminal, as here; SIGKILL only to the builder."""
    script = tmp_path / "lasting.py"
    script.write_text(textwrap.dedent(LASTING))
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "out")], env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "busy\n"
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 3
    else:
        process.kill()
    _, said = process.communicate(timeout=60)
    assert said == "" or signal_number == signal.SIGKILL  # multiprocessing says that it tidies up
    deadline = time.monotonic() + 30
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not members(process.pid)


def members(session):
    """Processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(path.parent.name)
    return found


def test_a_source_of_few_pictures_and_many_processes(received, tmp_path):
    source = ListSource({"train": items_of([encoded(pixels(0))])}, classes=1)
    build(source, tmp_path, workers=4)
    assert (tmp_path / "train/dataset.json").exists()
