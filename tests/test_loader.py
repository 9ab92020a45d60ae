"""What a step holds is a pure function of (seed, step, bad images): the same for any ranks, threads and prefetch."""

import gc
import os
import threading
import time

import numpy as np
import pytest
import torch

from fastlt import bundle, one_pass, resident
from fastlt.batch import StreamSpec, joined
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.loader import Loader, Placement
from tests.data.made_sources import ListSource

PIPELINE = PipelineConfig(name="crop_flip", size=32, pad=3, grayscale=0.3, cutout=8)
SPECS = {
    "uniform": StreamSpec(),
    "balanced": StreamSpec(StreamConfig(sampling="class_balanced"), views=2),
    "plain": StreamSpec(pipeline=PipelineConfig(name="evaluate", size=24)),
}
BATCH = 16


@pytest.fixture(scope="module")
def records(digits):
    with ShardSet(digits / "train") as opened:
        yield opened


def loader_of(records, specs=SPECS, ranks=1, rank=0, threads=1, prefetch=1, seed=0, **data):
    settings = DataConfig(path=".", threads=threads, prefetch=prefetch, **data)
    return Loader(records, specs, PIPELINE, BATCH, seed, settings, Placement(rank, ranks))


def steps(loader, count, first=0):
    loader.seek(first, loader.bad_images)
    return [next(loader) for _ in range(count)]


def assert_same(one, other):
    for name in SPECS:
        assert torch.equal(one.index[name], other.index[name])
        assert torch.equal(one.labels[name], other.labels[name])
        assert torch.equal(one.images[name], other.images[name])


def test_a_batch_is_channels_last_and_says_what_it_shows(records):
    with loader_of(records) as loader:
        batch = next(loader)
    assert batch.images["uniform"].shape == (BATCH, 3, 32, 32)
    assert batch.images["uniform"].is_contiguous(memory_format=torch.channels_last)
    assert batch.images["balanced"].shape == (2, BATCH, 3, 32, 32)
    assert batch.images["plain"].shape == (BATCH, 3, 24, 24)
    for name in SPECS:
        assert batch.labels[name].tolist() == records.labels(batch.index[name].numpy()).tolist()
        assert batch.position[name].tolist() == list(range(BATCH))


def test_streams_of_one_pipeline_lie_one_after_the_other(records):
    with loader_of(records) as loader:
        images = next(loader).images
    first, second = images["uniform"], images["balanced"]
    assert joined([first, *second.unbind()]).data_ptr() == first.data_ptr()


def test_two_views_differ_and_two_streams_are_independent(records):
    with loader_of(records) as loader:
        first, second = next(loader).images["balanced"]
    assert not torch.equal(first, second)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(records, ranks):
    with loader_of(records) as loader:
        whole = steps(loader, 2, first=5)
    parts = []
    for rank in range(ranks):
        with loader_of(records, ranks=ranks, rank=rank) as loader:
            parts.append(steps(loader, 2, first=5))
    for step in range(2):
        for name in SPECS:
            views = 1 if name == "balanced" else 0
            joined = torch.cat([part[step].images[name] for part in parts], dim=views)
            assert torch.equal(joined, whole[step].images[name])
            assert torch.equal(torch.cat([part[step].index[name] for part in parts]), whole[step].index[name])


@pytest.mark.parametrize(("threads", "prefetch"), [(2, 1), (1, 3), (4, 4)])
def test_threads_and_prefetch_change_nothing(records, threads, prefetch):
    with loader_of(records) as plain, loader_of(records, threads=threads, prefetch=prefetch) as other:
        for _ in range(4):
            assert_same(next(plain), next(other))


def test_any_step_can_be_entered_at_once(records):
    with loader_of(records) as loader:
        running = steps(loader, 6)
        for first in (5, 2):
            assert_same(steps(loader, 1, first)[0], running[first])


def test_a_batch_stays_what_it_was_while_later_ones_are_loaded(records):
    with loader_of(records) as loader:
        kept = next(loader)
        before = kept.images["uniform"].clone()
        steps(loader, 6, first=1)
    assert torch.equal(kept.images["uniform"], before)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads and files in /proc")
def test_leaving_early_leaks_no_thread_and_no_file(records):
    def held():
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    for _ in range(2):  # what libraries keep for themselves
        with loader_of(records) as loader:
            next(loader)
    before = held()
    for _ in range(5):
        with loader_of(records) as loader:
            next(loader)
        with pytest.raises(KeyError), loader_of(records) as loader:
            next(loader)
            raise KeyError
    assert held() == before


def test_an_error_while_reading_reaches_the_caller(records, monkeypatch):
    def fail(indices):
        raise UserError("shard-00000.h5 is damaged")

    with loader_of(records) as loader:
        monkeypatch.setattr(records, "read", fail)
        with pytest.raises(UserError, match="is damaged"):
            next(loader)


def test_a_batch_larger_than_the_data_or_uneven_over_ranks_is_refused(records):
    data = DataConfig(path=".")
    with pytest.raises(UserError, match=f"train.batch 4096 is larger than the data: .* {len(records)} images"):
        Loader(records, {"main": StreamSpec()}, PIPELINE, 4096, 0, data)
    with pytest.raises(UserError, match="batch 16 is not divisible by 3 ranks"):
        loader_of(records, ranks=3)


class TestRawPicturesOfOneSize:
    """They are read and shown without a look at each: with the same bits as those that are looked at."""

    @pytest.fixture(scope="class")
    def raw(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("raw")
        pictures = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
        items = [Item(str(i), picture, (i % 7,)) for i, picture in enumerate(pictures)]
        build(ListSource({"train": items}, classes=7), folder, shard_mb=0.1, workers=1)
        with ShardSet(folder / "train") as opened:
            assert opened.encoding == "raw"
            yield opened

    @pytest.fixture
    def read_step_by_step(self, monkeypatch):
        """As a set that is too large to be held."""
        monkeypatch.setattr(resident, "MOST_ON_CPU", 0)

    def test_a_set_that_is_held_shows_what_one_that_is_read_shows(self, raw, monkeypatch):
        with loader_of(raw) as held:
            shown = steps(held, 3, first=9)
        monkeypatch.setattr(resident, "MOST_ON_CPU", 0)
        with loader_of(raw) as read:
            for one, other in zip(shown, steps(read, 3, first=9), strict=True):
                assert_same(one, other)

    @pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (2, 2), (3, 1), (8, 4)])
    def test_steps_made_side_by_side_are_those_made_one_after_the_other(self, raw, threads, prefetch, monkeypatch):
        """Whichever of them is ready first, and across the ends of what is drawn at once."""
        monkeypatch.setattr(bundle, "AT_ONCE", 64)
        show, count = one_pass.OnePass.run, 60

        def late(graph, iteration):
            time.sleep(0.003 * (iteration % 3 == 0))
            return show(graph, iteration)

        with loader_of(raw) as loader:
            monkeypatch.setattr(loader, "_in_any_order", lambda: False)
            expected = steps(loader, count)
        monkeypatch.setattr(one_pass.OnePass, "run", late)
        with loader_of(raw, threads=threads, prefetch=prefetch) as loader:
            for batch in expected:
                assert_same(next(loader), batch)
            assert loader._in_any_order()

    def test_steps_ahead_do_not_take_over_the_modes_of_who_asks(self, raw):
        with loader_of(raw, threads=2, prefetch=2) as loader:
            with torch.inference_mode():
                next(loader)
            for _ in range(6):
                assert not any(images.is_inference() for images in next(loader).images.values())

    def test_after_ctrl_c_in_a_step_it_goes_on_with_the_same_one(self, raw, monkeypatch):
        show = one_pass.OnePass.run

        def stopped(graph, iteration):
            raise KeyboardInterrupt

        with loader_of(raw) as loader:
            expected = steps(loader, 4)
        with loader_of(raw) as loader:
            next(loader)
            monkeypatch.setattr(one_pass.OnePass, "run", stopped)
            with pytest.raises(KeyboardInterrupt):
                for _ in range(9):  # some are there already
                    next(loader)
            monkeypatch.setattr(one_pass.OnePass, "run", show)
            assert 0 < loader.step < 9
            loader.seek(1, set())
            for batch in expected[1:]:
                assert_same(next(loader), batch)

    class InLists:
        """The same pictures, one by one."""

        def __init__(self, records):
            self._records = records

        def __getattr__(self, name):
            return getattr(self._records, name)

        def __len__(self):
            return len(self._records)

        def read(self, indices):
            return list(self._records.read(indices))

    @pytest.mark.parametrize("form", ["operator", "graph"])
    def test_they_are_those_of_a_list(self, raw, form, monkeypatch, read_step_by_step):
        if form == "graph":
            monkeypatch.setattr(one_pass, "serves", lambda config: False)
        with loader_of(raw) as together, loader_of(self.InLists(raw)) as alone:
            for _ in range(3):
                assert_same(next(together), next(alone))

    def test_ranks_and_resuming_change_nothing(self, raw):
        with loader_of(raw) as loader:
            whole = steps(loader, 2, first=9)
        parts = []
        for rank in range(2):
            with loader_of(raw, ranks=2, rank=rank) as loader:
                parts.append(steps(loader, 2, first=9))
        for step in range(2):
            both = [part[step].images["uniform"] for part in parts]
            assert torch.equal(torch.cat(both), whole[step].images["uniform"])

    def test_streams_of_one_pipeline_are_read_by_one_call_and_are_those_of_a_loader_each(
        self, raw, monkeypatch, read_step_by_step
    ):
        specs = {name: SPECS[name] for name in ("uniform", "balanced")}
        alone = {}
        for name, spec in specs.items():
            with loader_of(raw, {name: spec}) as loader:
                alone[name] = steps(loader, 2, first=9)
        asked, read = [], raw.read
        monkeypatch.setattr(raw, "read", lambda indices: asked.append(len(indices)) or read(indices))
        with loader_of(raw, specs) as loader:
            together = steps(loader, 2, first=9)
        assert set(asked) == {2 * BATCH}
        for name, own in alone.items():
            for one, both in zip(own, together, strict=True):
                for field in ("images", "labels", "position", "index"):
                    assert torch.equal(getattr(both, field)[name], getattr(one, field)[name])

    def test_a_policy_comes_to_the_same(self, raw, read_step_by_step):
        specs = {"uniform": StreamSpec(pipeline=PipelineConfig(name="crop_flip", size=32, rand_augment={}))}
        with loader_of(raw, specs) as together, loader_of(self.InLists(raw), specs) as alone:
            for _ in range(2):
                assert torch.equal(next(together).images["uniform"], next(alone).images["uniform"])


class Damaged:
    """A shard set some of whose pictures no decoder reads."""

    def __init__(self, records, broken):
        self._records, self.broken = records, set(broken)

    def __getattr__(self, name):
        return getattr(self._records, name)

    def __len__(self):
        return len(self._records)

    def read(self, indices):
        rows = zip(indices.tolist(), self._records.read(indices), strict=True)
        return [row[: len(row) // 3] if index in self.broken else row for index, row in rows]


MAIN = {"main": StreamSpec(StreamConfig(sampling="class_balanced"))}


def test_pictures_that_do_not_decode_are_replaced_by_others_of_their_class(records):
    with loader_of(records, MAIN) as loader:
        shown = next(loader)
        broken = shown.index["main"][[3, 7]].tolist()
    with loader_of(Damaged(records, broken), MAIN) as loader:
        mended = next(loader)
        assert loader.bad_images == set(broken)
    same = [i for i in range(BATCH) if shown.index["main"][i].item() not in broken]
    assert torch.equal(mended.images["main"][same], shown.images["main"][same])
    assert torch.equal(mended.labels["main"], shown.labels["main"])
    assert not set(mended.index["main"].tolist()) & set(broken)


def test_in_several_streams_they_are_replaced_as_in_each_alone(records):
    damaged, bad = Damaged(records, range(0, len(records), 9)), set()
    specs = {name: SPECS[name] for name in ("uniform", "balanced")}
    with loader_of(damaged, specs) as loader:
        together = steps(loader, 3)
        found = loader.bad_images
    for name, spec in specs.items():
        with loader_of(damaged, {name: spec}) as loader:
            for both, own in zip(together, steps(loader, 3), strict=True):
                assert torch.equal(both.index[name], own.index[name])
                assert torch.equal(both.images[name], own.images[name])
            bad |= loader.bad_images
    assert found == bad


def test_the_list_of_bad_pictures_is_all_that_resuming_needs(records):
    damaged = Damaged(records, range(0, len(records), 9))
    with loader_of(damaged, MAIN) as loader:
        running = [next(loader) for _ in range(6)]
        known = set(loader.bad_images)
    with loader_of(damaged, MAIN) as loader:
        loader.seek(4, known)
        assert torch.equal(next(loader).images["main"], running[4].images["main"])


def test_too_many_bad_pictures_stop_the_run_with_their_names(records):
    damaged = Damaged(records, range(0, len(records), 2))
    with loader_of(damaged, MAIN, max_bad_images=3) as loader, pytest.raises(UserError, match=r"\.png.*max_bad_images"):
        next(loader)


def test_a_class_without_any_readable_picture_is_named(records):
    starts, images = records.class_members()
    damaged = Damaged(records, images[starts[9] : starts[10]].tolist())
    with loader_of(damaged, MAIN) as loader, pytest.raises(UserError, match="nor can any that could take its place"):
        for _ in range(len(records)):
            next(loader)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_shard_set_is_read_alike_after_a_fork(records):
    here = np.concatenate(records.read(np.arange(4)))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, bytes([np.array_equal(np.concatenate(records.read(np.arange(4))), here)]))
        os._exit(0)
    assert os.read(reader, 1) == b"\x01"
