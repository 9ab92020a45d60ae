"""Scores of every image of a split, each counted once whatever the number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fastlt import distributed
from fastlt.batch import StreamSpec
from fastlt.config import RunConfig, StreamConfig
from fastlt.loader import Loader, Placement, Records
from fastlt.methods.base import Method

Take = Callable[[Tensor, np.ndarray, np.ndarray], None]

_WHOLE = ""  # the method's own scores among those of its parts
_IN_ORDER = {"all": StreamSpec(StreamConfig(sampling="sequential"))}


def score(
    method: Method, records: Records, config: RunConfig, ranks: distributed.Ranks, tick=None
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, C]: `method.predict` for every image that decodes, and int64 [N]: which they are, ascending.

    With `train.evaluate_flip` the mean of the scores of the picture and of its mirror. Every rank gets all of them.
    `tick(done, total)` is called after each batch. Raises UserError when too many pictures do not decode.
    """
    scores, _, rows = score_parts(method, records, config, ranks, tick)
    return scores, rows


def score_parts(
    method: Method, records: Records, config: RunConfig, ranks: distributed.Ranks, tick=None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """What `score` gives, with the scores of each part of `method.predict_parts`, float32 [N, C], in the middle."""
    rows, positions, counts = [], [], []
    names: list[str] = []

    def take(images: Tensor, position: np.ndarray, readable: np.ndarray) -> None:
        found = _predict(method, images, config.train.evaluate_flip)
        names[:] = found
        rows.append(torch.stack(list(found.values()), dim=1))
        positions.append(position)
        counts.append(readable)

    show_all(method, records, config, ranks, take, tick)
    own = np.concatenate(counts)
    merged, chosen = _merge(torch.cat(rows).cpu().numpy()[own], np.concatenate(positions)[own], len(records))
    parts = {name: merged[:, place] for place, name in enumerate(names)}
    return parts.pop(_WHOLE), parts, chosen


def _predict(method: Method, images: Tensor, flip: bool) -> dict[str, Tensor]:
    """float32 [B, C] of the method, then of its parts."""
    views = [method.predict_parts(view) for view in ([images, images.flip(-1)] if flip else [images])]
    each = [{_WHOLE: whole.float()} | {name: part.float() for name, part in parts.items()} for whole, parts in views]
    return {name: sum(view[name] for view in each) / len(each) for name in each[0]}


def show_all(
    method: Method, records: Records, config: RunConfig, ranks: distributed.Ranks, take: Take, tick=None
) -> None:
    """Gives `take` this rank's share of all images once, as the run's evaluation shows them; `method` is in eval mode.

    `take(images [b, 3, H, W], position int64 [b], readable bool [b])`: what is not readable is a stand-in for a picture
    that does not decode, or past the end.
    """
    size = len(records)
    batch = _even(min(config.train.evaluate_batch, size), ranks.count)
    place = Placement(ranks.rank, ranks.count, ranks.device)
    was_training = method.training
    method.eval()
    with (
        torch.inference_mode(),
        Loader(records, _IN_ORDER, config.evaluation, batch, config.seed, config.data, place) as loader,
    ):
        for step in range(math.ceil(size / batch)):
            shown = next(loader)
            position = shown.position["all"].numpy()
            readable = shown.index["all"].numpy() == position
            take(shown.images["all"], position, readable)
            if tick:
                tick(min((step + 1) * batch, size), size)
    method.train(was_training)


def _even(batch: int, ranks: int) -> int:
    return math.ceil(batch / ranks) * ranks


def _merge(rows: np.ndarray, positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of all ranks in the order of positions, and which positions there are."""
    scores = np.empty((size, *rows.shape[1:]), np.float32)
    readable = np.zeros(size, bool)
    for part, place in distributed.gather((rows, positions)):
        scores[place] = part
        readable[place] = True
    return scores[readable], np.flatnonzero(readable)
