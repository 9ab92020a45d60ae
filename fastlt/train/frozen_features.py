"""Computes what the frozen stages of a run's network make of its training pictures, before the first step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastlt import distributed
from fastlt.cached_features import ways
from fastlt.config import RunConfig
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.evaluate.scoring import show_all
from fastlt.free_memory import free_memory
from fastlt.methods.base import Method
from fastlt.models.frozen_part import FrozenPart
from fastlt.train.display import Display


def check(method: Method, config: RunConfig) -> None:
    """Raises UserError if the method shows pictures to another network too, or they look different in every epoch."""
    if method.other_network_sees_pictures:
        raise UserError(
            f"model.cache_frozen: method {config.method.name} shows the pictures to another network too; "
            "leave model.cache_frozen out"
        )
    if any(stream.pipeline not in (None, config.pipeline) for stream in method.streams.values()):
        raise UserError("model.cache_frozen: the method's streams show pictures in different ways; leave it out")
    list(ways(config.pipeline))


def compute(method: Method, records: ShardSet, config: RunConfig, ranks: distributed.Ranks, display: Display) -> Tensor:
    """[ways, N, h, w, C] on the device, in the type that the run computes in: of each picture, in each of the `ways` of
    the run's recipe.

    Every rank computes its share and gets all. Raises UserError if there is no room, or a picture cannot be shown.
    """
    part, each = FrozenPart(method), list(ways(config.pipeline))
    kept = torch.empty(0)
    seen = torch.zeros(len(each), len(records), device=ranks.device)
    for number, way in enumerate(each):

        def take(images: Tensor, position: np.ndarray, readable: np.ndarray, number: int = number) -> None:
            nonlocal kept
            found = part.features(method.predict, images).permute(0, 2, 3, 1)
            if not len(kept):
                kept = _room(torch.Size((len(each), len(records), *found.shape[1:])), found)
            kept[number, position[readable]] = found[readable]
            seen[number, position[readable]] = 1

        shown = config.model_copy(update={"evaluate_pipeline": way})
        ticker = display.ticker(f"frozen stages, way {number + 1} of {len(each)}")
        show_all(method, records, shown, ranks, take, ticker)
    distributed.add_up(kept, seen)
    _check_seen(seen.cpu().numpy().all(0), records)
    display.say(f"frozen stages: {len(records):,} pictures x {len(each)} kept, {kept.nbytes / 1e6:,.0f} MB")
    return kept


def _room(shape: torch.Size, like: Tensor) -> Tensor:
    """Zeros; raises UserError if they take more than half of the memory that is free."""
    free, needed = free_memory(like.device), like.element_size() * shape.numel()
    if free is not None and needed > free / 2:
        raise UserError(
            f"model.cache_frozen: what the frozen stages make of {shape[1]:,} pictures takes {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free, of which it may take half; freeze more stages, or leave it out"
        )
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _check_seen(seen: np.ndarray, records: ShardSet) -> None:
    """Raises UserError if a picture was not shown."""
    missing = np.flatnonzero(~seen)
    if len(missing):
        names = ", ".join(records.ids(missing[:3]))
        raise UserError(
            f"model.cache_frozen: {len(missing)} pictures cannot be shown, among them {names}; build the data set "
            "again with --check decode, or leave model.cache_frozen out"
        )
