"""The loader alone, against torch's DataLoader (Pillow, torchvision, torchcodec), WebDataset, FFCV, DALI's own reader.

All decode the same JPEG bytes into float32 batches: a random resized crop to 224, flip, normalise, on as many cores,
to which the process is bound. `region_decode` is DALI decoding the cropped regions and no more, from memory: the limit
that decoding sets. `vs_x` is our rate over that of x, the median over rounds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fastlt.bench import page_cache, peers, treated
from fastlt.bench.affinity import bound_to
from fastlt.bench.baseline import Pictures
from fastlt.bench.flows import counted, our_flow
from fastlt.bench.machine import usable_cores
from fastlt.bench.peers import Setting
from fastlt.bench.photos import photo_set
from fastlt.bench.raw import raw_set
from fastlt.bench.runs import device
from fastlt.bench.timing import case, flows_in_turn

from fastlt import augment
from fastlt.config import PipelineConfig
from fastlt.streams import Uniform

BATCH, BATCHES, OTHER_BATCHES = 64, 8, (16, 256)
SMALL_BATCHES = 256  # of small pictures: fewer are too soon over to be timed
ROUNDS, REST = 5, 0.5
LARGER = {(480, 640): 256, (1200, 1600): 48}  # height and width: how many
PHOTOS = PipelineConfig(name="random_resized_crop", size=224)
SMALL = PipelineConfig(name="crop_flip", size=32)
OURS, LIMIT, PLAIN = "fastlt", "region_decode", "torchvision"


def cases(data: Path | None) -> list[dict]:
    """All contestants once; then ours, the baseline and the limit for other cores, batches, sizes, a cold cache
    and what giving up detail gains.
    """
    cores, few = usable_cores(), (PLAIN, LIMIT)
    with _photos(data) as main:
        found = _measure(main, (*peers.NAMES, LIMIT))
        for fewer in _powers_of_two_below(cores):
            found += _measure(replace(main, cores=fewer), few)
        for batch in OTHER_BATCHES:
            if batch <= len(main.records):
                found += _measure(replace(main, batch=batch), (LIMIT,))
        found += _measure(main, (PLAIN,), cold=True)
    for size, count in LARGER.items():
        with _photos(None, size, count) as larger:
            found += _measure(replace(larger, batch=16), few)
    found += treated.cases(PHOTOS, BATCHES, ROUNDS, REST)
    with _small() as small:
        return found + _measure(small, (PLAIN,), batches=SMALL_BATCHES)


def summary(found: list[dict]) -> dict:
    """Our rate, and over what of the others, where all run."""
    ours = next(case for case in found if case["name"] == OURS)
    absent = {case["name"]: case["absent"] for case in found if "absent" in case}
    ratios = {name: ours.get(f"vs_{name}", absent.get(name)) for name in (*peers.NAMES, LIMIT)}
    return {"images_per_second": ours["images_per_second"], "vs": ratios}


def _measure(setting: Setting, others: tuple[str, ...], cold: bool = False, batches: int | None = None) -> list[dict]:
    """A case for ours and for each of the others; those that are not installed say so."""
    present = [name for name in others if name == LIMIT or not peers.missing(name)]
    files = [*_paths(setting)] if cold else []
    if cold:
        batches = max(1, len(setting.records) // setting.batch)
    with contextlib.ExitStack() as stack, bound_to(setting.cores):
        flows = {name: stack.enter_context(_others_flow(name, setting)) for name in present}
        flows[OURS] = stack.enter_context(our_flow(setting.records, setting.pipeline, setting.batch, setting.cores))
        lead = 2 * setting.cores + 2
        rates, work = flows_in_turn(flows, batches or BATCHES, lead, ROUNDS, REST, lambda: page_cache.evict(files))
    words = {"setting": _words(setting, cold)}
    found = [case(OURS, rates, "images", *present), *(case(name, rates, "images") for name in present)]
    if LIMIT in present:
        found[0]["limit"] = found[1 + present.index(LIMIT)]["images_per_second"]
    for one in found:
        one |= words | {"images_per_cpu_second": round(work[one["name"]], 1) if one["name"] in work else None}
    return found + [{"name": name, "absent": peers.ABSENT, **words} for name in others if name not in present]


@contextlib.contextmanager
def _others_flow(name: str, setting: Setting) -> Iterator[Iterator[int]]:
    with region_decode(setting) if name == LIMIT else peers.batches(name, setting) as flow:
        yield flow if name == LIMIT else counted(flow)


@contextlib.contextmanager
def region_decode(setting: Setting) -> Iterator[Iterator[int]]:
    """DALI decodes the regions that a recipe draws, of records that are in memory; nothing is resized or handed on."""
    from nvidia.dali import fn, pipeline_def, types

    recipe, stream = augment.load(setting.pipeline.name), Uniform(len(setting.records), key=1)
    on_gpu = device().type == "cuda"
    ready = []
    for number in range(max(2, min(BATCHES, 2048 // setting.batch))):
        position = np.arange(number * setting.batch, (number + 1) * setting.batch)
        index = stream.indices(position[0], setting.batch)
        drawn = recipe.parameters(setting.pipeline, 2, position, setting.records.shapes(index))
        ready.append([setting.records.read(index), drawn["window_start"], drawn["window_shape"]])

    @pipeline_def(
        batch_size=setting.batch,
        num_threads=setting.cores,
        device_id=0 if on_gpu else None,
        prefetch_queue_depth=2,
        exec_dynamic=True,
    )
    def graph():
        source = {"source": lambda info: ready[info.iteration % len(ready)], "batch": True, "batch_info": True}
        records, start, shape = fn.external_source(
            num_outputs=3, dtype=[types.UINT8, types.INT32, types.INT32], **source
        )
        decoder = "mixed" if on_gpu else "cpu"
        return fn.decoders.image_slice(records, start=start, shape=shape, axis_names="HW", device=decoder)

    pipeline = graph()
    yield (len(pipeline.run()[0]) for _ in iter(int, 1))


@contextlib.contextmanager
def _photos(data: Path | None, *size_and_count) -> Iterator[Setting]:
    with photo_set(data, *size_and_count) as (records, files), TemporaryDirectory() as folder:
        every = np.arange(len(records))
        pictures = Pictures(files, records.shapes(every), records.labels(every))
        batch = min(BATCH, len(records))
        yield Setting(records, pictures, PHOTOS, batch, usable_cores(), Path(folder))


@contextlib.contextmanager
def _small() -> Iterator[Setting]:
    with raw_set() as (records, arrays), TemporaryDirectory() as folder:
        every = np.arange(len(records))
        pictures = Pictures(arrays, records.shapes(every), records.labels(every))
        yield Setting(records, pictures, SMALL, 2 * BATCH, usable_cores(), Path(folder))


def _words(setting: Setting, cold: bool) -> str:
    height, width = np.median(setting.pictures.shapes, axis=0).astype(int).tolist()
    kind = "raw " if isinstance(setting.pictures.files, np.ndarray) else ""
    warmth = "cold" if cold else "warm"
    return f"{kind}{width} x {height}, batch {setting.batch}, cores {setting.cores}, {warmth}"


def _paths(setting: Setting) -> Iterator[Path]:
    yield from setting.records.folder.glob("*.h5")
    yield from (path for path in setting.pictures.files)


def _powers_of_two_below(count: int) -> list[int]:
    return [1 << power for power in range(count.bit_length()) if 1 << power < count]
