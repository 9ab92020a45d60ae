"""Scores of the training images by networks that have not seen them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlt import distributed, hashing
from fastlt.address import Address
from fastlt.config import RunConfig
from fastlt.data.build import build
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.distributed import Ranks
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import train


def held_out_scores(
    config: RunConfig, data: Path | Address, folds: int, work: Path, ranks: Ranks, display: Display
) -> tuple[np.ndarray, np.ndarray]:
    """Trains the run of `config` once a fold of the training images of `data`, without that fold, and scores it.

    Returns float32 [n, C] scores and int8 [n, C] labels of the images that decode. Folds, and the runs on them, lie
    below `work`; after a stop the same call goes on. An image is in the same fold every time.
    """
    scores, labels = [], []
    with ShardSet(data / "train") as records:
        ids = np.array(records.ids(np.arange(len(records))), dtype=object)
        place = hashing.shuffled(hashing.key("folds", config.seed), len(records)) % folds
        for fold in range(folds):
            display.say(f"fold {fold + 1} of {folds}: training on the others")
            part = work / f"{fold + 1}-of-{folds}"
            trained = _train_on(frozenset(ids[place != fold]), config, data, part, ranks, display)
            found, rows = trained.scores(records, display.ticker(f"fold {fold + 1}"))
            held = place[rows] == fold
            scores.append(found[held])
            labels.append(records.labels(rows[held]))
    return np.concatenate(scores), np.concatenate(labels)


def _train_on(
    ids: frozenset[str], config: RunConfig, data: Path | Address, part: Path, ranks: Ranks, display: Display
) -> Trained:
    own = config.model_copy(update={"data": config.data.model_copy(update={"path": part / "data"})})
    folder = RunFolder(part / "run")
    begun = folder.last.exists()
    if ranks.is_first:
        build(open_source("shards", data, overlap="keep"), part / "data", Recipe("ids", ids=ids))
    distributed.barrier()
    train(own, folder, ranks, begun, display, [])
    return Trained.load(folder, ranks)
