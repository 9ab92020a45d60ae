"""The workers of a Dask cluster build what one machine builds, though one of them is killed; else one line says why."""

import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from made_sources import ListSource, counted, encoded, pixels
from test_build import files, mixed

from fastlt.commands.data import build_data_set
from fastlt.data import dask_cluster, workers
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.pictures import Checks, Treatment, prepare_all
from fastlt.errors import UserError


@pytest.fixture(scope="module")
def local_cluster():
    """Three worker processes and their scheduler."""
    distributed = pytest.importorskip("distributed", reason="--dask needs Dask: pip install fastlt[dask]")
    import dask

    with (
        dask.config.set({"distributed.worker.daemon": True}),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
        ) as started,
    ):
        yield started


def pictures(folder, count):
    """A folder source's root: class subfolders of pictures, one of them broken."""
    for i in range(count):
        path = folder / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(i)))
    (folder / "a" / "broken.png").write_bytes(b"broken")
    return folder


def test_any_executor_gives_the_same_bytes(tmp_path):
    build(mixed(), tmp_path / "here", val=0.2, shard_mb=0.02, workers=1)
    with ThreadPoolExecutor(3) as executor:
        build(mixed(), tmp_path / "there", val=0.2, shard_mb=0.02, executor=executor)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_the_same_bytes_come_out_though_a_worker_is_killed(local_cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK", 2)
    root = pictures(tmp_path / "root", 240)
    pids = list(run_on_all(local_cluster, os.getpid).values())
    assert len(set(pids)) == 3 and os.getpid() not in pids
    killed = []

    def kill_one(split, done, total):
        if done >= 60 and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    from fastlt.data.sources import open_source

    source = open_source("folder", root)
    build(source, tmp_path / "here", shard_mb=0.02, workers=1, quality=60)
    with dask_cluster.cluster(local_cluster.scheduler_address) as (executor, threads):
        assert threads == 3
        build(source, tmp_path / "there", shard_mb=0.02, quality=60, executor=executor, workers=1, progress=kill_one)
    assert killed and files(tmp_path / "here") == files(tmp_path / "there")


def test_only_one_line_of_ours_tells_of_a_lost_scheduler(local_cluster):
    def heard():
        names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
        return [name for name in names if logging.getLogger(name).isEnabledFor(logging.ERROR)]

    before = heard()
    with dask_cluster.cluster(local_cluster.scheduler_address):
        assert before and heard() == []
    assert heard() == before


def run_on_all(cluster, function):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        return client.run(function)


def test_the_command_takes_the_address(local_cluster, tmp_path):
    from rich.console import Console

    local_cluster.scale(3)
    root = pictures(tmp_path / "root", 40)
    for out, dask in (("here", None), ("there", local_cluster.scheduler_address)):
        build_data_set("folder", root, tmp_path / out, Console(quiet=True), dask=dask)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_a_worker_that_lacks_the_files_is_no_reason_to_leave_pictures_out(tmp_path):
    """Here a worker reads below a folder of its own, as another machine would."""
    items = [Item(str(i), path, (0,)) for i, path in enumerate([tmp_path / "one.png", tmp_path / "two.png"])]
    for item in items:
        item.image.write_bytes(encoded(pixels(0)))

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, work, images):
            return super().submit(work, [path.replace("two", "gone") for path in images])

    with (
        Elsewhere(1) as executor,
        pytest.raises(UserError, match="a worker finds 1 bad .*, this machine does not: let every"),
    ):
        build(ListSource({"train": items}, classes=1), tmp_path / "out", executor=executor)


def refused(address):
    with pytest.raises(UserError) as found, dask_cluster.cluster(address):
        pass
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_worker_of_another_version_is_refused(local_cluster, monkeypatch):
    monkeypatch.setattr(dask_cluster, "packages", lambda: {"fastlt": "9", "Pillow": "1"})
    assert "has fastlt " in refused(local_cluster.scheduler_address)


def test_a_worker_of_another_version_that_comes_later_is_refused(local_cluster, monkeypatch):
    with dask_cluster.cluster(local_cluster.scheduler_address) as (executor, _):
        assert executor.submit(len, "abc").result() == 3
        monkeypatch.setattr(dask_cluster, "packages", lambda: {"fastlt": "9"})
        with pytest.raises(UserError, match="has fastlt .*, this machine 9, and bytes could differ"):
            executor.submit(len, "abc").result()


def test_a_worker_without_fastlt_that_comes_later_is_one_line(local_cluster, monkeypatch):
    with dask_cluster.cluster(local_cluster.scheduler_address) as (executor, _):
        monkeypatch.setattr(dask_cluster, "UNPACKED", "__import__('fastlt_that_is_not')")
        with pytest.raises(UserError, match="a worker cannot do the work .*fastlt_that_is_not.*; install there what"):
            executor.submit(len, "abc").result()


def test_the_scheduler_needs_nothing_of_fastlt():
    class Builtins(pickle.Unpickler):
        def find_class(self, module, name):
            assert module == "builtins"
            return super().find_class(module, name)

    class Client:
        def submit(self, *given, **_):
            function, *arguments = Builtins(io.BytesIO(pickle.dumps(given))).load()
            future = Future()
            future.set_result(function(*arguments))
            return future

    images = [encoded(pixels(0))]
    (picture,) = dask_cluster._Workers(Client()).submit(WORK, images).result()
    assert picture.data == images[0]


WORK = partial(prepare_all, treatment=Treatment(), checks=Checks())


def test_a_worker_without_fastlt_is_refused(local_cluster, monkeypatch):
    """Python finds no module of that name there."""
    asked = dask_cluster.ASKED
    here = dask_cluster.packages()
    monkeypatch.setattr(dask_cluster, "packages", lambda: here)
    monkeypatch.setattr(
        dask_cluster, "ASKED", asked.replace("('fastlt', 'fastlt')", "('fastlt', 'fastlt_that_is_not')")
    )
    assert f"has no fastlt; install fastlt {here['fastlt']} there" in refused(local_cluster.scheduler_address)


def test_a_cluster_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "SECONDS", 0.5)
    assert "no Dask cluster answers at tcp://127.0.0.1:9 (" in refused("tcp://127.0.0.1:9")
    assert "no Dask cluster answers at nonsense://" in refused("nonsense://")


def test_a_cluster_without_workers():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        assert "has no workers; start `dask worker tcp://" in refused(empty.scheduler_address)


def test_a_cluster_that_ends_in_the_middle_is_one_line_and_the_build_goes_on_later(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "CHUNK", 2)
    build(counted([60, 60]), tmp_path / "here", shard_mb=0.01, workers=1)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as ending:
        closing = threading.Thread(target=ending.close)

        def end(split, done, total):
            if done == 60:
                closing.start()
                closing.join()

        with (
            pytest.raises(UserError, match="went away; run the same command again"),
            dask_cluster.cluster(ending.scheduler_address) as (executor, threads),
        ):
            build(counted([60, 60]), tmp_path / "there", shard_mb=0.01, executor=executor, workers=1, progress=end)
    report = build(counted([60, 60]), tmp_path / "there", shard_mb=0.01, workers=1)
    assert report.kept_shards > 0 and files(tmp_path / "here") == files(tmp_path / "there")


def test_without_dask_it_is_one_line(tmp_path):
    code = "import sys; sys.modules['distributed'] = None; from fastlt.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "build", "digits", "--out", str(tmp_path / "out"), "--dask", "tcp://a:1"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr.startswith("error: --dask needs Dask: pip install fastlt[dask]")
    assert ran.stderr.count("\n") == 1
