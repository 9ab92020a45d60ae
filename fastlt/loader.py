"""Shards + streams + augmentation + a DALI graph -> Batch.

fastlt owns order, length and epochs; DALI never sees an end. For every step a producer thread reads the records and
draws the augmentation parameters ahead; DALI decodes and augments them in its own threads. What a step holds is a pure
function of (seed, step, bad images), so nothing here has a state that a checkpoint must keep but those two.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fastlt import augment, dali, hashing, streams
from fastlt.batch import Batch, StreamSpec
from fastlt.config import DataConfig, PipelineConfig
from fastlt.errors import UserError
from fastlt.prefetch import Feed, Prepared, Window
from fastlt.replacement import Replacement


class Records(Protocol):
    """Where pictures and labels come from: `ShardSet`, or files to predict."""

    encoding: str
    attributes: dict[str, list[int]]  # of each attribute its classes

    def __len__(self) -> int: ...
    def read(self, indices: np.ndarray) -> list[np.ndarray]: ...
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


@dataclass(frozen=True)
class Part:
    """This rank's share of one stream."""

    name: str
    spec: StreamSpec
    stream: streams.Stream
    batch: int  # over all ranks
    view_keys: tuple[int, ...]


class Loader:
    """An endless iterator of `Batch` from step 0 or where `seek` says; a context manager that leaves no thread behind.

    Streams and views that share a graph are concatenated into one DALI pipeline and split as views of its output.
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
        self.parts = [_part(name, spec, records, members, batch, seed) for name, spec in specs.items()]
        for part in self.parts:
            _check_batch(part, self.place.ranks)
        self.graphs = _by_graph(self.parts, pipeline)
        in_order = all(spec.stream.sampling == "sequential" for spec in specs.values())  # evaluation: any stands in
        self.replacement = Replacement(records, members, data.max_bad_images, within_class=not in_order)
        self.step = 0
        self._pipelines: list = []
        self._window: Window | None = None

    def epoch_length(self, name: str) -> int:
        """Positions of one epoch of the stream `name`."""
        return next(part.stream.epoch_length for part in self.parts if part.name == name)

    def begin_second_stage_at(self, step: int) -> None:
        """Streams that have a `then` change to it at that step; to be told before the first batch."""
        for part in self.parts:
            if isinstance(part.stream, streams.Switched):
                part.stream.border = step * part.batch

    @property
    def bad_images(self) -> set[int]:
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
                outputs = [pipeline.run(*self._cuda_stream())[0] for pipeline in self._pipelines]
                break
            except RuntimeError as error:
                self._set_aside_bad_images(error)
        prepared = self._window.get(self.step)
        batch = self._assemble(prepared, outputs)
        self.step += 1
        self._window.drop_before(self.step)
        return batch

    def seek(self, step: int, bad_images: set[int]) -> None:
        """Goes on at `step`, with the bad images of a checkpoint."""
        self.close()
        self.step = step
        self.replacement.forget_all_but(bad_images)

    def close(self) -> None:
        """Ends the threads; a later `next` starts them again at the present step."""
        window, self._window = self._window, None
        self._pipelines = []
        if window is not None:
            window.close()

    def _start(self) -> None:
        first = self.step
        self._window = Window(self._prepare, first, depth=self.data.prefetch + 2)
        threads = max(1, (self.data.threads or _own_cores()) // len(self.graphs))
        window = self._window
        for number, (config, parts) in enumerate(self.graphs):
            feed = Feed(window, number, first)
            self._pipelines.append(self._pipeline(config, self._rows(parts), threads, feed))

    def _pipeline(self, config: PipelineConfig, batch: int, threads: int, feed):
        device, device_id = self._dali_device()
        return dali.build(
            config,
            batch=batch,
            encoding=self.records.encoding,
            device=device,
            device_id=device_id,
            threads=threads,
            prefetch=self.data.prefetch,
            source=feed,
            half=self.place.half,
        )

    def _rows(self, parts: list[Part]) -> int:
        return sum(len(part.view_keys) * part.batch // self.place.ranks for part in parts)

    def _prepare(self, step: int) -> Prepared:
        position, index = {}, {}
        for part in self.parts:
            start, count = streams.rank_part(step, part.batch, self.place.rank, self.place.ranks)
            position[part.name] = np.arange(start, start + count)
            index[part.name] = self.replacement(part.stream.indices(start, count))
        inputs = [self._inputs(config, parts, position, index) for config, parts in self.graphs]
        return Prepared(inputs, position, index)

    def _inputs(self, config, parts: list[Part], position, index) -> list:
        """[pictures, parameter, parameter ...]: the views of each stream one after the other."""
        pictures: list[np.ndarray] = []
        drawn: list[dict[str, np.ndarray]] = []
        module = augment.load(config.name)
        for part in parts:
            rows = self.records.read(index[part.name])
            shapes = self.records.shapes(index[part.name])
            for key in part.view_keys:
                pictures += rows
                drawn.append(module.parameters(config, key, position[part.name], shapes))
        return [dali.fed(pictures), *(np.concatenate([d[name] for d in drawn]) for name in sorted(drawn[0]))]

    def _assemble(self, prepared: Prepared, outputs: list) -> Batch:
        images = {}
        for (_, parts), output in zip(self.graphs, outputs, strict=True):
            pixels = dali.to_torch(output).permute(0, 3, 1, 2)  # channels-last memory, no copy
            sizes = [len(part.view_keys) * part.batch // self.place.ranks for part in parts]
            for part, rows in zip(parts, pixels.split(sizes), strict=True):
                images[part.name] = rows if part.spec.views == 1 else rows.unflatten(0, (part.spec.views, -1))
        labels = {name: self._to_device(self.records.labels(index)) for name, index in prepared.index.items()}
        return Batch(
            images=images,
            labels=labels,
            position={name: torch.from_numpy(rows) for name, rows in prepared.position.items()},
            index={name: torch.from_numpy(rows) for name, rows in prepared.index.items()},
        )

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.place.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.place.device, non_blocking=True)

    def _cuda_stream(self) -> tuple:
        """Where outputs are awaited: on torch's stream, so that the host need not wait; nowhere on the CPU."""
        return (torch.cuda.current_stream(self.place.device),) if self.place.device.type == "cuda" else ()

    def _decodes(self, index: int) -> bool:
        record = self.records.read(np.array([index]))[0]
        return dali.decodes(record, self.records.encoding, *self._dali_device())

    def _dali_device(self) -> tuple[str, int | None]:
        device = self.place.device
        return ("gpu", device.index) if device.type == "cuda" else ("cpu", None)

    def _set_aside_bad_images(self, error: RuntimeError) -> None:
        """Finds the pictures of this step that DALI cannot decode, and begins the step again without them."""
        prepared = self._window.get(self.step)
        shown = np.unique(np.concatenate(list(prepared.index.values())))
        self.close()
        bad = [int(i) for i in shown if not self._decodes(int(i))]
        if not bad:
            raise UserError(f"DALI failed on step {self.step}: {str(error).strip().splitlines()[0]}") from error
        self.replacement.set_aside(bad)


def _own_cores() -> int:
    """Cores of this process, shared with the other ranks on the machine; more than 16 threads decode no faster."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 16))


def _part(name: str, spec: StreamSpec, records: Records, members, batch: int, seed: int) -> Part:
    key = hashing.key(seed, "stream", name)
    stream = streams.build(spec.stream, members, len(records), key, records.attributes)
    if spec.then:
        key = hashing.key(seed, "stream", name, "then")
        stream = streams.Switched(stream, streams.build(spec.then, members, len(records), key, records.attributes))
    views = tuple(hashing.key(seed, "augment", name, view) for view in range(spec.views))
    return Part(name, spec, stream, round(batch * spec.batch_share), views)


def _by_graph(parts: list[Part], default: PipelineConfig) -> list[tuple[PipelineConfig, list[Part]]]:
    graphs: list[tuple[PipelineConfig, list[Part]]] = []
    for part in parts:
        config = part.spec.pipeline or default
        found = next((members for known, members in graphs if known == config), None)
        if found is None:
            graphs.append((config, [part]))
        else:
            found.append(part)
    return graphs


def _check_batch(part: Part, ranks: int) -> None:
    streams.rank_part(0, part.batch, 0, ranks)
    if part.batch > part.stream.epoch_length and part.spec.stream.sampling != "sequential":
        raise UserError(
            f"train.batch {part.batch} is larger than the data: one epoch of stream {part.name} has "
            f"{part.stream.epoch_length} images; choose a smaller batch"
        )
