"""From the shard into DALI: reading records and handing them over, on one core, with a graph that does nothing to them.

`checked` verifies every record's crc32, as is done the first time that it is read; `lists` hands them over as lists of
arrays, DALI's usual way; `ready` reads nothing, but hands over what was read before: what DALI alone costs. `limit` is
how many could be copied in memory once, which the kernel must do. The loader is asked for two streams and for one of
double the batch, whose pictures are small and raw, so that feeding is what counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fastlt.bench.affinity import bound_to
from fastlt.bench.machine import usable_cores
from fastlt.bench.photos import HEIGHT, WIDTH, photo_set
from fastlt.bench.raw import raw_set
from fastlt.bench.timing import case, flows_in_turn, rates_in_turn

from fastlt import dali
from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.loader import Loader
from fastlt.streams import Uniform

BATCH, BATCHES, ROUNDS = 256, 40, 7
SIZES = ((HEIGHT // 2, WIDTH // 2), (HEIGHT, WIDTH))
LOADED, LOADED_BATCHES, REST = 128, 400, 0.3
SMALL = PipelineConfig(name="crop_flip", size=32)


def cases(data: Path | None) -> list[dict]:
    """Records per second on one core for each size of pictures, and images per second of one and of two streams."""
    found = []
    for size in SIZES if data is None else SIZES[:1]:
        with photo_set(data, size) as (records, _), bound_to(1):
            found += _fed(records)
    return found + _streams()


def _fed(records: ShardSet) -> list[dict]:
    stream, batch = Uniform(len(records), key=1), min(BATCH, len(records))
    indices = [stream.indices(number * batch, batch) for number in range(BATCHES)]
    size = float(np.mean([len(record) for record in records.read(np.arange(min(len(records), BATCH)))]))
    with ShardSet(records.folder, check_sums=False) as unchecked:
        ready = [unchecked.read(index) for index in indices[:4]]  # so many are in DALI's hands at a time
        contestants = {
            "fed": _turn(lambda number: dali.to_dali(unchecked.read(indices[number])), batch),
            "checked": _turn(lambda number: dali.to_dali(_checked(records, indices[number])), batch),
            "lists": _turn(lambda number: unchecked.read(indices[number]), batch, copied=True),
            "ready": _turn(lambda number: dali.to_dali(ready[number % len(ready)]), batch),
            "copy": lambda: _copies(round(size), batch * BATCHES),
        }
        rates = rates_in_turn(contestants, ROUNDS)
    words = {"setting": f"{size / 1000:.1f} kB a record, batch {batch}, one core"}
    shown = [case(name, rates, "records", "lists", "ready", "copy") for name in contestants if name != "copy"]
    return [one | words | {"limit": round(float(np.median(rates["copy"])), 1)} for one in shown]


def _turn(source: Callable[[int], object], batch: int, copied: bool = False) -> Callable[[], int]:
    """Runs BATCHES batches through a graph that gives the shape of each record."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=2, exec_dynamic=True)
    def graph():
        settings = {"batch": True, "batch_info": True, "dtype": types.UINT8, "no_copy": not copied}
        return fn.external_source(source=lambda info: source(info.iteration % BATCHES), **settings).shape()

    pipeline = graph()

    def turn() -> int:
        return sum(len(pipeline.run()[0]) for _ in range(BATCHES))

    return turn


def _checked(records: ShardSet, index: np.ndarray) -> list[np.ndarray]:
    records.check_again()
    return records.read(index)


def _copies(size: int, count: int) -> int:
    """Records of `size` bytes copied from a place that no cache holds to one that is written again and again."""
    source = np.ones((max(count, 1), size), np.uint8)[: (256 << 20) // size]  # zeros are one page until written to
    target = np.empty(size, np.uint8)
    for number in range(count):
        np.copyto(target, source[number % len(source)])
    return count


def _streams() -> list[dict]:
    """One stream of double the batch, and two: uniform and class-balanced."""
    two = {"uniform": StreamSpec(), "balanced": StreamSpec(StreamConfig(sampling="class_balanced"))}
    with raw_set() as (records, _), contextlib.ExitStack() as stack:
        flows = {
            "one stream": stack.enter_context(_images(records, {"main": StreamSpec()}, 2 * LOADED)),
            "two streams": stack.enter_context(_images(records, two, LOADED)),
        }
        rates, work = flows_in_turn(flows, LOADED_BATCHES, 6, ROUNDS, REST)
    words = {"setting": f"raw 32 x 32, {2 * LOADED} pictures a step, {usable_cores()} cores"}
    found = [case("two streams", rates, "images", "one stream"), case("one stream", rates, "images")]
    return [one | words | {"images_per_cpu_second": round(work.get(one["name"], 0), 1)} for one in found]


@contextlib.contextmanager
def _images(records: ShardSet, specs: dict[str, StreamSpec], batch: int) -> Iterator[Iterator[int]]:
    settings = DataConfig(path=records.folder, threads=usable_cores())
    with Loader(records, specs, SMALL, batch, 0, settings) as loader:
        yield (sum(map(len, batch.images.values())) for batch in loader)
