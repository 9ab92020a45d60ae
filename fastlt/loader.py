"""Shards + streams + augmentation + a DALI graph -> Batch.

fastlt owns order, length and epochs; DALI never sees an end. For every step a producer thread, or for held pictures who
makes it, reads the records and draws the augmentation parameters ahead. On a GPU, DALI decodes and augments them in its
own threads; on the CPU it decodes, and further threads end the way with the compiled operator, ahead too. What a step
holds is a pure function of (seed, step) and of the files; what a checkpoint keeps besides, the bad images, is for
counting them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch

import fastlt.ops.records  # noqa: F401  by which fastlt.data.records reads
from fastlt import cached_features, dali, one_pass, resident, scaled_decoding, streams
from fastlt.batch import Batch, StreamSpec
from fastlt.bundle import Bundle, by_graph
from fastlt.config import DataConfig, PipelineConfig
from fastlt.data.records import RecordBatch, taken
from fastlt.errors import UserError
from fastlt.part import Part
from fastlt.prefetch import Fed, Feed, Prepared, Window
from fastlt.replacement import Replacement

MOST_STEPS, MOST_POSITIONS = 128, 32_768  # that a remote set is told of ahead
SIDE_BY_SIDE = 4  # steps made at once; more would wait for Python's lock
Graph = dali.Graph | one_pass.OnePass | resident.Graph | cached_features.Graph  # what makes the pictures of a bundle


class Records(Protocol):
    """Where pictures and labels come from: `ShardSet`, or files to predict."""

    encoding: str
    is_remote: bool  # if so, it has `expect` and `forget_expected` too
    attributes: dict[str, list[int]]  # of each attribute its classes

    def __len__(self) -> int: ...
    def read(self, indices: np.ndarray) -> RecordBatch: ...
    def shapes(self, indices: np.ndarray) -> np.ndarray: ...
    def ids(self, indices: np.ndarray) -> list[str]: ...
    def labels(self, indices: np.ndarray) -> np.ndarray: ...
    def class_members(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Placement:
    """Which part of the global batch is loaded here, and where it goes."""

    rank: int = 0
    ranks: int = 1
    device: torch.device = torch.device("cpu")
    half: bool = False  # float16 images


class Loader:
    """An endless iterator of `Batch` from step 0 or where `seek` says; a context manager that leaves no thread behind.

    Streams of one pipeline share a graph: they are one batch of it, which is split as views of its output.
    """

    def __init__(
        self,
        records: Records,
        specs: dict[str, StreamSpec],
        pipeline: PipelineConfig,
        batch: int,
        seed: int,
        data: DataConfig,
        placement: Placement | None = None,
    ) -> None:
        self.records, self.data, self.place = records, data, placement or Placement()
        members = records.class_members()
        self.parts = [Part(name, spec, pipeline, records, members, batch, seed) for name, spec in specs.items()]
        for part in self.parts:
            _check_batch(part, self.place.ranks)
        self.bundles = by_graph(self.parts, self.place.rank, self.place.ranks)  # one a graph
        in_order = all(spec.stream.sampling == "sequential" for spec in specs.values())  # evaluation: any stands in
        self.replacement = Replacement(records, members, data.max_bad_images, within_class=not in_order)
        self._may_hold = not in_order  # what is shown again and again
        self.held: torch.Tensor | None = None  # all pictures of a small set
        self.features: torch.Tensor | None = None
        self.step = 0
        self._running: list[Graph] = []
        self._window: Window[list[Prepared]] | None = None
        self._ahead: Window[list[torch.Tensor]] | None = None  # on the CPU

    def epoch_length(self, name: str) -> int:
        """Positions of one epoch of the stream `name`."""
        return next(part.stream.epoch_length for part in self.parts if part.name == name)

    def begin_second_stage_at(self, step: int) -> None:
        """Streams that have a `then` change to it at that step; to be told before the first batch."""
        for part in self.parts:
            if isinstance(part.stream, streams.Switched):
                part.stream.border = step * part.batch

    def show_features(self, features: torch.Tensor) -> None:
        """From the next step on `images` are what frozen stages made of them, [ways, N, h, w, C] (cached_features)."""
        self.close()
        self._may_hold, self.held = False, None
        self.features, self.replacement.records = features, resident.Numbers(self.records)

    @property
    def bad_images(self) -> set[int]:
        """Images met so far that could not be shown where they should have been."""
        return self.replacement.bad

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        """The batch of the present step. Raises UserError when too many pictures do not decode."""
        while True:
            if self._window is None:
                self._start()
            try:
                outputs = self._ahead.get(self.step) if self._ahead else self._run(self.step)
                break
            except RuntimeError as error:
                self._set_aside_bad_images(error)
            except KeyboardInterrupt:  # maybe while it helped to make a step
                self.close()
                raise
        prepared = self._window.get(self.step)
        self.replacement.count(set().union(*(rows.bad for rows in prepared)))
        batch = self._assemble(prepared, outputs)
        self.step += 1
        for window in filter(None, (self._ahead, self._window)):
            window.drop_before(self.step)
        return batch

    def seek(self, step: int, bad_images: set[int]) -> None:
        """Goes on at `step`, with the bad images of a checkpoint."""
        self.close()
        self.step = step
        self.replacement.forget_all_but(bad_images)

    def close(self) -> None:
        """Ends the threads; a later `next` starts them again at the present step."""
        ahead, self._ahead, window, self._window = self._ahead, None, self._window, None
        if ahead is not None:
            ahead.close()  # first, for it still asks the graphs, and these the window
        while self._running:
            self._running.pop().close()
        if window is not None:
            window.close()
            if self.records.is_remote:
                self.records.forget_expected()

    def _start(self) -> None:
        if self._may_hold:
            self._may_hold, self.replacement.records = False, self._hold()
        first = self._first = self.step
        self._announced = first  # the next step whose records are to be announced
        threads, on_cpu = self.data.threads or _own_cores(), self.place.device.type == "cpu"
        helped = self._in_any_order()
        makers = max(1, min(threads, SIDE_BY_SIDE) - 1) if helped else 1
        ready = self.data.prefetch + helped * makers
        held = 3 * ready if on_cpu else ready  # batches that are ready, in the operator's way, and in DALI's
        spare = held if self.records.encoding == "raw" else 0  # small pictures, small steps
        own = int(not helped)  # threads; where there is none, the makers do its work too
        self._window = Window(self._prepare, first, held + 2, "fastlt-loader", spare, own, helped)
        each = max(1, threads // len(self.bundles))
        for number, bundle in enumerate(self.bundles):
            feed = Feed(self._window, number, first)
            self._running.append(self._graph(bundle.pipeline, len(bundle.views), each, feed))
        if on_cpu:
            self._ahead = Window(self._run, first, ready, "fastlt-pictures", threads=makers, helped=helped)

    def _in_any_order(self) -> bool:
        """Whether steps may be made in any order, and several at once: pictures that are held, and no DALI."""
        if self.held is None or self.place.device.type != "cpu":
            return False
        return all(one_pass.in_any_order(bundle.pipeline) for bundle in self.bundles)

    def _hold(self) -> Records:
        """Where pictures are read from: of a set that is small enough to stay in memory, only their numbers."""
        device, records = self.place.device, self.records
        pipelines, room = [bundle.pipeline for bundle in self.bundles], resident.room(device)
        if device.type == "cuda":
            self.held = resident.held_as_shown(records, pipelines, device, room)
        elif all(map(one_pass.serves, pipelines)):
            self.held = resident.held(records, device, room)
        return records if self.held is None else resident.Numbers(records)

    def _graph(self, config: PipelineConfig, batch: int, threads: int, feed: Feed) -> Graph:
        encoding, prefetch, half = self.records.encoding, self.data.prefetch, self.place.half
        device, device_id = self._dali_device()
        if self.features is not None:
            return cached_features.Graph(config, self.features, feed)
        if device == "cpu" and one_pass.serves(config):
            return one_pass.OnePass(config, batch, encoding, threads, prefetch, feed, half, self.held)
        if self.held is not None:
            return resident.Graph(config, self.held, feed, half)
        return dali.Graph(config, batch, encoding, device, device_id, threads, prefetch, feed, half)

    def _run(self, step: int) -> list[torch.Tensor]:
        """The pictures of a step, of each graph [rows, size, size, 3]."""
        with torch.inference_mode(False):  # of whoever asks; it may be for a later step than theirs
            return [graph.run(step - self._first, *self._cuda_stream()) for graph in self._running]

    def _prepare(self, step: int) -> list[Prepared]:
        if self.records.is_remote:
            self._announce(step)
        return [self._prepared(bundle, step) for bundle in self.bundles]

    def _prepared(self, bundle: Bundle, step: int) -> Prepared:
        """What a graph is fed, with what is drawn for the images that are shown in the end."""
        rows = bundle.rows(step)
        shown = self.replacement(rows.wanted, partial(self._decodes, bundle, rows.position))
        drawn = rows.drawn if shown.index is rows.wanted else bundle.draw(rows.position, shown.index)
        fed = Fed(taken(shown.pictures, bundle.views) if bundle.has_views else shown.pictures, drawn)
        return Prepared(fed, rows.position, shown.index, shown.bad)

    def _announce(self, step: int) -> None:
        """Tells the records what will be read of them from `step` on."""
        ahead = max(1, min(MOST_STEPS, MOST_POSITIONS // max(part.batch for part in self.parts)))
        for later in range(self._announced, step + ahead):
            for bundle in self.bundles:
                self.records.expect(bundle.wanted(later))
        self._announced = max(self._announced, step + ahead)

    def _decodes(self, bundle: Bundle, position: np.ndarray, row: int, image: int, record) -> bool:
        """Whether an image can be shown in row `row` of a bundle at these positions, in every view."""
        views = bundle.draw_at(row, int(position[row]), image)
        windows = [np.concatenate([view[name] for view in views]) for name in ("window_start", "window_shape")]
        return not self._undecoded(bundle.pipeline, [record] * len(views), *windows)

    def _undecoded(self, config: PipelineConfig, pictures: list, start: np.ndarray, shape: np.ndarray) -> list[int]:
        """The rows of encoded pictures whose windows cannot be shown here."""
        refused = dali.undecoded(pictures, start, shape, *self._dali_device())
        if not config.scaled_decoding or self.place.device.type != "cpu" or not one_pass.serves(config):
            return refused
        return [row for row in refused if not scaled_decoding.shows(pictures[row], shape[row], config.size)]

    def _assemble(self, prepared: list[Prepared], outputs: list[torch.Tensor]) -> Batch:
        batch = Batch({}, {}, {}, {})
        for bundle, rows, output in zip(self.bundles, prepared, outputs, strict=True):
            batch.images |= bundle.views_by_stream(output.permute(0, 3, 1, 2))  # channels-last memory, no copy
            batch.labels |= bundle.by_stream(resident.sent(self.records.labels(rows.index), self.place.device))
            batch.position |= {name: torch.from_numpy(own) for name, own in bundle.by_stream(rows.position).items()}
            batch.index |= {name: torch.from_numpy(own) for name, own in bundle.by_stream(rows.index).items()}
        return batch

    def _cuda_stream(self) -> tuple:
        """Where outputs are awaited: on torch's stream, so that the host need not wait; nowhere on the CPU."""
        return (torch.cuda.current_stream(self.place.device),) if self.place.device.type == "cuda" else ()

    def _dali_device(self) -> tuple[str, int | None]:
        device = self.place.device
        return ("gpu", device.index) if device.type == "cuda" else ("cpu", None)

    def _set_aside_bad_images(self, error: RuntimeError) -> None:
        """Finds the pictures of this step that do not decode, and begins the step again without them."""
        prepared = self._window.get(self.step)
        self.close()
        found = set()
        if self.replacement.records.encoding != "raw":
            for bundle, rows in zip(self.bundles, prepared, strict=True):
                windows = rows.fed.drawn["window_start"], rows.fed.drawn["window_shape"]
                refused = self._undecoded(bundle.pipeline, rows.fed.pictures, *windows)
                found |= set(rows.index[bundle.views[refused]].tolist())
        if not self.replacement.doubt(found):
            raise UserError(f"loading step {self.step} failed: {str(error).strip().splitlines()[0]}") from error


def _own_cores() -> int:
    """Cores of this process, shared with the other ranks on the machine; more than 16 threads decode no faster."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 16))


def _check_batch(part: Part, ranks: int) -> None:
    streams.rank_part(0, part.batch, 0, ranks)
    if part.batch > part.stream.epoch_length and part.spec.stream.sampling != "sequential":
        raise UserError(
            f"train.batch {part.batch} is larger than the data: one epoch of stream {part.name} has "
            f"{part.stream.epoch_length} images; choose a smaller batch"
        )
