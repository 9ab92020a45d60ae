"""What the loader gains where building makes pictures smaller: fewer pixels, or fewer bytes. Both lose detail."""

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
AS_THEY_ARE = "as they are"
TREATMENTS = {"built with --max-side 320": {"max_side": 320}, "built with --quality 75": {"quality": 75}}


def cases(pipeline: PipelineConfig, batches: int, rounds: int, rest: float) -> list[dict]:
    """Our loader on the same photographs as they are (JPEG of quality 90) and as `fastlt build` makes them smaller."""
    cores = usable_cores()
    with contextlib.ExitStack() as stack:
        records, _ = stack.enter_context(photo_set(None, SIZE, COUNT))
        sets = {AS_THEY_ARE: records}
        sets |= {name: stack.enter_context(_built_anew(records, how)) for name, how in TREATMENTS.items()}
        flows = {name: stack.enter_context(our_flow(one, pipeline, BATCH, cores)) for name, one in sets.items()}
        rates, _ = flows_in_turn(flows, batches, 2 * cores + 2, rounds, rest)
        return [_case(name, rates, one) for name, one in sets.items()]


def _case(name: str, rates: dict[str, list[float]], records: ShardSet) -> dict:
    references = () if name == AS_THEY_ARE else (AS_THEY_ARE,)
    height, width = SIZE
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
