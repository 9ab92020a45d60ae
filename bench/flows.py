"""Batches as they come to where the network would be, counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from fastlt.bench.runs import device

from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig
from fastlt.data.shards import ShardSet
from fastlt.loader import Loader, Placement


@contextlib.contextmanager
def our_flow(records: ShardSet, pipeline: PipelineConfig, batch: int, cores: int) -> Iterator[Iterator[int]]:
    """fastlt's loader of one uniform stream."""
    data = DataConfig(path=records.folder, threads=cores)
    with Loader(records, {"main": StreamSpec()}, pipeline, batch, 0, data, Placement(device=device())) as loader:
        yield counted(batch.images["main"] for batch in loader)


def counted(flow: Iterator) -> Iterator[int]:
    """How many pictures each batch has, once it is where the network would be."""
    place = device()
    for images in flow:
        if place.type == "cuda":
            images.to(place, non_blocking=True)
            torch.cuda.synchronize(place)
        yield len(images)
