"""What sampling from 100 million images costs: labels are made, there are no pictures."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

import numpy as np

from fastlt import hashing, streams
from fastlt.config import StreamConfig
from fastlt.data.labels import LabelRows

IMAGES, CLASSES, BATCH, BATCHES = 100_000_000, 10_000, 256, 400


def cases(data: Path | None) -> list[dict]:
    """Milliseconds to draw a batch of 256, and memory, for each kind of stream over a long tail of 10,000 classes."""
    before = _peak_mb()
    labels = _long_tailed_labels()
    rows = LabelRows(np.arange(IMAGES + 1, dtype=np.int64), labels, np.ones(IMAGES, np.int8), CLASSES, default=0)
    begin = time.perf_counter()
    members = rows.members()
    seconds = time.perf_counter() - begin
    found = []
    for sampling in ("uniform", "class_balanced", "square_root"):
        stream = streams.build(StreamConfig(sampling=sampling), members, IMAGES, key=1)
        times = []
        for number in range(BATCHES):
            begin = time.perf_counter()
            stream.indices(number * BATCH, BATCH)
            times.append(1000 * (time.perf_counter() - begin))
        found.append(
            {
                "name": sampling,
                "images": IMAGES,
                "ms_per_batch_of_256": round(sum(times) / BATCHES, 4),
                "median_ms": round(statistics.median(times), 4),
                "worst_ms": round(max(times), 2),
                "class_lists_mb": round(sum(part.nbytes for part in members) / 1e6, 1),
                "class_lists_seconds": round(seconds, 1),
                "peak_mb": round(_peak_mb() - before, 1),
            }
        )
    return found


def _long_tailed_labels() -> np.ndarray:
    """int32 [N]: class c holds a share that falls exponentially to a hundredth of that of class 0, in random order."""
    sizes = 0.01 ** (np.arange(CLASSES) / (CLASSES - 1))
    edges = np.cumsum(sizes / sizes.sum())
    labels = np.empty(IMAGES, np.int32)
    for start in range(0, IMAGES, 1 << 20):
        part = np.arange(start, min(start + (1 << 20), IMAGES))
        labels[part] = np.minimum(np.searchsorted(edges, hashing.uniform(1, part)), CLASSES - 1)
    return labels


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
