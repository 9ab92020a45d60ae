"""Makes a shard set of millions of images, labels without pictures, and measures what it costs to use.

    python tools/scale.py --images 10000000 --classes 9600 --labels 6 --work /tmp/large --json large.json

The set is a real one, written by fastlt's own shard writer: each record is one raw pixel, so that labels, offsets,
sizes, sums and ids are all there is. Classes fall off exponentially to a hundredth. Every figure comes of a process of
its own, which holds nothing else. docs/scale.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fastlt import hashing
from fastlt.data import layout, manifest
from fastlt.data.longtail import group_limits
from fastlt.data.pictures import Picture
from fastlt.data.shard_writer import ShardWriter
from fastlt.data.shards import ShardSet

RECORDS = 2400  # of a shard: 256 MB of pictures of 110 kB
BATCH, STEPS = 256, 50
PARTS = ("open", "lists", "loader", "copies", "shared", "inspect", "verify")
RANKS = 2


def write(folder: Path, images: int, classes: int, labels: int = 1, records: int = RECORDS) -> Path:
    """A data set whose `train` has so many images, with one label each or `labels` stated ones, a third of them
    positive and the others negative; what is not stated is unknown. After a stop it goes on.
    """
    train, journal = folder / "train", folder / "made.jsonl"
    if (train / manifest.NAME).exists():
        return folder
    train.mkdir(parents=True, exist_ok=True)
    shards = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    with journal.open("a") as file:
        for first in range(records * len(shards), images, records):
            rows = np.arange(first, min(first + records, images))
            shards.append(_shard(train / layout.shard_name(len(shards)), rows, classes, labels))
            file.write(json.dumps(shards[-1]) + "\n")
            file.flush()
    values = _description(images, classes, labels, shards)
    with ShardSet(train, values=values) as made:
        values["counts"] = values["training_counts"] = made.label_rows.counts().tolist()
    manifest.write_json(train / manifest.NAME, manifest.seal(values))
    return folder


def _shard(path: Path, rows: np.ndarray, classes: int, labels: int) -> dict:
    with ShardWriter(path, "raw", _default(labels)) as shard:
        for row, pairs in zip(rows.tolist(), _stated(rows, classes, labels), strict=True):
            shard.append(f"images/{row:09d}.jpg", Picture(b"\x10\x20\x30", 1, 1), pairs)
        return shard.finish()


def _default(labels: int) -> int:
    """What a class is that is not stated: unknown, where several labels are."""
    return 0 if labels == 1 else -1


def _stated(rows: np.ndarray, classes: int, labels: int) -> list[list[tuple[int, int]]]:
    """(class, value) of each image, the classes ascending."""
    sizes = np.cumsum(0.01 ** (np.arange(classes) / max(classes - 1, 1)))
    drawn = [
        np.minimum(np.searchsorted(sizes / sizes[-1], hashing.uniform(1, rows, lane=lane)), classes - 1)
        for lane in range(labels)
    ]
    if labels == 1:
        return [[(c, 1)] for c in drawn[0].tolist()]
    values = [int(3 * lane < labels) for lane in range(labels)]
    return [sorted(dict(zip(row, values, strict=True)).items()) for row in np.stack(drawn, axis=1).tolist()]


def _description(images: int, classes: int, labels: int, shards: list[dict]) -> dict:
    counts = [0] * classes
    return {
        "name": "made", "split": "train", "classes": [f"class {c}" for c in range(classes)],
        "multi_label": labels > 1, "label_default": _default(labels), "attributes": {}, "encoding": "raw",
        "records": images, "counts": counts, "training_counts": counts,
        "groups": group_limits(labels > 1), "source": {}, "recipe": {}, "subset": "", "balanced_attributes": False,
        "hidden": None, "treatment": {}, "bad": [], "done": images, "fingerprint": "made", "shards": shards,
    }  # fmt: skip


def measured(part: str, folder: Path) -> dict:
    """Of one of PARTS: seconds, MiB held afterwards and at most, beyond what the imports hold.

    `copies` and `shared` are of RANKS ranks that each hold a copy, or share one: what the largest has to itself.
    """
    if part in ("copies", "shared"):
        return _ranks(folder, part == "shared")
    return {"open": _open, "lists": _lists, "loader": _loader, "inspect": _inspect, "verify": _verify}[part](folder)


def _open(folder: Path) -> dict:
    return _cost(lambda: ShardSet(folder / "train"))


def _lists(folder: Path) -> dict:
    records = ShardSet(folder / "train")
    return _cost(records.class_members)


def _loader(folder: Path) -> dict:
    """Opening, the class lists, a class-balanced stream and the first batch; then what many more batches add."""
    import torch

    from fastlt.batch import StreamSpec
    from fastlt.config import DataConfig, PipelineConfig, StreamConfig
    from fastlt.loader import Loader

    torch.set_num_threads(1)
    spec = {"main": StreamSpec(StreamConfig(sampling="class_balanced"))}
    pipeline, data = PipelineConfig(name="squash", size=8), DataConfig(path=folder, threads=1)

    def begin() -> Loader:
        loader = Loader(ShardSet(folder / "train"), spec, pipeline, BATCH, 0, data)
        next(loader)
        return loader

    with contextlib.ExitStack() as stack:
        kept = []
        found = _cost(lambda: kept.append(stack.enter_context(begin())))
        before = _mib("VmRSS")
        for _ in range(STEPS):
            next(kept[0])
        return found | {f"more_after_{STEPS}_batches": round(_mib("VmRSS") - before, 1)}


def _ranks(folder: Path, share: bool) -> dict:
    with tempfile.TemporaryDirectory() as meeting, multiprocessing.get_context("spawn").Pool(RANKS) as pool:
        given = [(folder, share, f"file://{meeting}/place", rank) for rank in range(RANKS)]
        found = pool.starmap(_rank, given, chunksize=1)
    return {name: max(rank[name] for rank in found) for name in found[0]}


def _rank(folder: Path, share: bool, meeting: str, rank: int) -> dict:
    """Opening and the class lists, in one of the ranks."""
    from torch import distributed

    from fastlt.shared_arrays import one_copy_a_host

    distributed.init_process_group("gloo", meeting, rank=rank, world_size=RANKS)
    before, begin = _own_and_shared()[0], time.perf_counter()
    with ShardSet(folder / "train", share=one_copy_a_host if share else None) as records:
        records.class_members()
        seconds = time.perf_counter() - begin
        gc.collect()
        own, shared = _own_and_shared()
        distributed.barrier()  # nobody leaves while others look
    distributed.destroy_process_group()
    return {"seconds": round(seconds, 1), "held": round(own - before, 1), "shared": round(shared, 1)}


def _own_and_shared() -> tuple[float, float]:
    """MiB that nobody else sees, and those that the ranks share."""
    own, shared, is_shared = 0, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == "Size":
            shared += int(size.split()[0]) if is_shared else 0
        elif name in ("Private_Clean", "Private_Dirty"):
            own += 0 if is_shared else int(size.split()[0])
        elif " " in name:  # the first line of a mapping
            is_shared = "memfd:fastlt" in line
    return own / 1024, shared / 1024


def _inspect(folder: Path) -> dict:
    from fastlt.inspection import inspect

    return _cost(lambda: inspect(folder))


def _verify(folder: Path) -> dict:
    from fastlt.data.verify import verify

    reports = []
    return _cost(lambda: reports.append(verify(folder))) | {"problems": len(reports[0].problems)}


def _cost(call: Callable[[], object]) -> dict:
    gc.collect()
    before, begin = _mib("VmRSS"), time.perf_counter()
    with _peak() as peak:
        kept = call()
    seconds = time.perf_counter() - begin
    gc.collect()
    found = {"seconds": round(seconds, 1), "held": round(_mib("VmRSS") - before, 1), "peak": round(peak[0] - before, 1)}
    del kept
    return found


@contextlib.contextmanager
def _peak() -> Iterator[list[float]]:
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    found = [0.0]
    yield found
    found[0] = _mib("VmHWM")


def _mib(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=9600)
    parser.add_argument("--labels", type=int, default=1, help="labels that are stated of each image")
    parser.add_argument("--records", type=int, default=RECORDS, help="of a shard")
    parser.add_argument("--work", type=Path, required=True, help="where the set is made, and kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(measured(given.part, given.work)))
        return
    begin = time.perf_counter()
    write(given.work, given.images, given.classes, given.labels, given.records)
    found = {"images": given.images, "classes": given.classes, "labels": given.labels, "shard": given.records}
    print(f"{given.images:,} images in {given.work}: {time.perf_counter() - begin:.0f} s to make", flush=True)
    for part in PARTS:
        command = [sys.executable, __file__, "--work", given.work, "--part", part]
        found[part] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(part, found[part], flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
