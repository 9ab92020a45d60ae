"""What sampling from 10 thousand to 100 million images costs: labels are made, there are no pictures."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

import numpy as np

from fastlt import hashing, streams
from fastlt.config import StreamConfig
from fastlt.data.labels import LabelRows

SIZES, CLASSES, BATCH, BATCHES = (10_000, 1_000_000, 100_000_000), 10_000, 256, 400


def cases(data: Path | None) -> list[dict]:
    """Milliseconds to draw a batch of 256, and memory, for each kind of stream over a long tail of 10,000 classes."""
    return [found for images in SIZES for found in _of(images)]


def _of(images: int) -> list[dict]:
    before = _peak_mb()
    labels = _long_tailed_labels(images)
    rows = LabelRows(np.arange(images + 1, dtype=np.int64), labels, np.ones(images, np.int8), CLASSES, default=0)
    begin = time.perf_counter()
    members = rows.members()
    seconds = time.perf_counter() - begin
    return [
        {
            "name": sampling,
            "images": images,
            **_drawn(streams.build(StreamConfig(sampling=sampling), members, images, key=1)),
            "class_lists_mb": round(sum(part.nbytes for part in members) / 1e6, 1),
            "class_lists_seconds": round(seconds, 1),
            "peak_mb": round(_peak_mb() - before, 1),
        }
        for sampling in ("uniform", "class_balanced", "square_root")
    ]


def _drawn(stream: streams.Stream) -> dict:
    """The mean is what counts: a stream works out many positions at once, so that few batches bear the cost of all."""
    times = []
    for number in range(BATCHES):
        begin = time.perf_counter()
        stream.indices(number * BATCH, BATCH)
        times.append(1000 * (time.perf_counter() - begin))
    fifths = [round(float(part.mean()), 4) for part in np.array_split(times, 5)]
    return {
        "ms_per_batch_of_256": round(sum(times) / BATCHES, 4),
        "median_ms": round(statistics.median(times), 4),
        "worst_ms": round(max(times), 2),
        "samples_ms": {"ours": fifths},
    }


def _long_tailed_labels(images: int) -> np.ndarray:
    """int32 [N]: class c holds a share that falls exponentially to a hundredth of that of class 0, in random order."""
    sizes = 0.01 ** (np.arange(CLASSES) / (CLASSES - 1))
    edges = np.cumsum(sizes / sizes.sum())
    labels = np.empty(images, np.int32)
    for start in range(0, images, 1 << 20):
        part = np.arange(start, min(start + (1 << 20), images))
        labels[part] = np.minimum(np.searchsorted(edges, hashing.uniform(1, part)), CLASSES - 1)
    return labels


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
