"""Loads an epoch of a shard set in several ways, in a process that DALI may end; prints what came, as JSON.

python tests/load_corrupted.py FOLDER
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

import torch

from fastlt import one_pass
from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.loader import Loader, Placement

BATCH = 64  # where DALI reads headers in several threads
WINDOWS = PipelineConfig(size=16, scale=(0.05, 0.6))
SPECS = {"main": StreamSpec(views=2), "balanced": StreamSpec(StreamConfig(sampling="class_balanced"))}


def load(records: ShardSet, rank: int = 0, ranks: int = 1, first: int = 0, bad=(), prefetch: int = 2) -> dict:
    """The images at each position, a digest of their pixels for each step, and those that could not be shown."""
    data = DataConfig(path=".", threads=2, prefetch=prefetch, max_bad_images=1000)
    steps, seen = -(-len(records) // BATCH), []
    with Loader(records, SPECS, WINDOWS, BATCH, 0, data, Placement(rank, ranks)) as loader:
        loader.seek(first, set(bad))
        for _ in range(first, steps):
            batch = next(loader)
            pixels = [batch.images["main"].transpose(0, 1).contiguous(), batch.images["balanced"].contiguous()]
            digests = [[hashlib.sha256(row.numpy().tobytes()).hexdigest()[:16] for row in part] for part in pixels]
            seen.append([batch.index["main"].tolist(), batch.index["balanced"].tolist(), *digests])
        return {"seen": seen, "bad": sorted(loader.bad_images)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with ShardSet(folder) as records:
        whole = load(records)
        found = {
            "whole": whole,
            "ranks": [load(records, rank, 2, prefetch=1) for rank in range(2)],
            "resumed": load(records, first=3, bad=whole["bad"], prefetch=3),
        }
        with mock.patch.object(one_pass, "serves", lambda config: False):
            found["graph"] = load(records)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
