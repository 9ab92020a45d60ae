"""What the loader gains where detail is given up: fewer pixels, fewer bytes, or decoding at a fraction of the size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from fastlt.bench.flows import our_flow
from fastlt.bench.machine import usable_cores
from fastlt.bench.photos import photo_set
from fastlt.bench.timing import case, flows_in_turn

from fastlt.config import PipelineConfig
from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source

SIZE, COUNT, BATCH = (480, 640), 256, 16
LARGE, LARGE_COUNT = (3000, 4000), 24  # 12 megapixels
AS_THEY_ARE, SCALED = "as they are", "with pipeline.scaled_decoding"
TREATMENTS = {"built with --max-side 320": {"max_side": 320}, "built with --quality 75": {"quality": 75}}


def cases(pipeline: PipelineConfig, batches: int, rounds: int, rest: float) -> list[dict]:
    """Our loader on the same photographs as they are (JPEG of quality 90) and made smaller, by `fastlt build` or by the
    decoder.
    """
    timed = batches, 2 * usable_cores() + 2, rounds, rest
    with contextlib.ExitStack() as stack:
        records, _ = stack.enter_context(photo_set(None, SIZE, COUNT))
        sets = {AS_THEY_ARE: records}
        sets |= {name: stack.enter_context(_built_anew(records, how)) for name, how in TREATMENTS.items()}
        found = _compared({name: (one, pipeline) for name, one in sets.items()}, SIZE, *timed)
    scaled = pipeline.model_copy(update={"scaled_decoding": True})
    with photo_set(None, LARGE, LARGE_COUNT) as (records, _):
        return found + _compared({AS_THEY_ARE: (records, pipeline), SCALED: (records, scaled)}, LARGE, *timed)


def _compared(subjects: dict[str, tuple[ShardSet, PipelineConfig]], size: tuple[int, int], *timed) -> list[dict]:
    with contextlib.ExitStack() as stack:
        flows = {
            name: stack.enter_context(our_flow(*subject, BATCH, usable_cores())) for name, subject in subjects.items()
        }
        rates, _ = flows_in_turn(flows, *timed)
    return [_case(name, rates, records, size) for name, (records, _) in subjects.items()]


def _case(name: str, rates: dict[str, list[float]], records: ShardSet, size: tuple[int, int]) -> dict:
    references = () if name == AS_THEY_ARE else (AS_THEY_ARE,)
    height, width = size
    return case(name, rates, "images", *references) | {
        "name": "fastlt",
        "setting": f"{width} x {height} {name}, batch {BATCH}",
        "bytes_per_picture": round(sum(shard["bytes"] for shard in records.manifest["shards"]) / len(records)),
    }


@contextlib.contextmanager
def _built_anew(records: ShardSet, treatment: dict) -> Iterator[ShardSet]:
    with TemporaryDirectory() as folder:
        build(open_source("shards", records.folder.parent), folder, val=0.0, workers=1, **treatment)
        with ShardSet(Path(folder) / "train") as smaller:
            yield smaller
