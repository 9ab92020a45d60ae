"""A trained run, loaded from a checkpoint to evaluate or to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastlt import methods
from fastlt.config import RunConfig
from fastlt.data.shards import ShardSet
from fastlt.distributed import Ranks
from fastlt.errors import UserError
from fastlt.evaluate.metrics import evaluate
from fastlt.evaluate.scoring import score
from fastlt.loader import Records
from fastlt.methods.base import Method
from fastlt.progress import TrainingSet
from fastlt.train import checkpoint, precision
from fastlt.train.run_folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """A method with its trained weights (averaged ones where the run kept them), and what it was trained on."""

    config: RunConfig
    data: TrainingSet
    method: Method
    precision: precision.Precision
    step: int
    checkpoint: Path
    ranks: Ranks

    @classmethod
    def load(cls, folder: RunFolder, ranks: Ranks, which: str | None = None) -> Trained:
        """From `best` (where a validation split chose one) or `last`. Raises UserError if there is none."""
        path = folder.evaluation_checkpoint(which)
        state = checkpoint.load(path)
        config = _without_initial_weights(RunConfig.model_validate(state["config"]))
        data = TrainingSet(**state["data"])
        chosen = _precision(config, ranks)
        chosen.activate()
        method = methods.build(config, data, ranks.device, report=lambda line: None)
        checkpoint.check_matches(state["model"], method.state_dict(), path)
        averaged = state["ema"]["average"] if state["ema"] else {}
        method.load_state_dict(state["model"] | averaged)
        return cls(config, data, method.eval(), chosen, state["step"], path, ranks)

    def scores(self, records: Records, tick=None) -> tuple[np.ndarray, np.ndarray]:
        """float32 [n, C] for every picture of `records` that decodes, and int64 [n]: which they are."""
        with self.precision.autocast():
            return score(self.method, records, self.config, self.ranks, tick)

    def measure(self, split: str, path: Path | None = None, tick=None) -> dict:
        """The metrics of a split of the run's data set, or of the one at `path`.

        Raises UserError if there is no such split or its classes are others.
        """
        root = path or self.config.data.path
        with ShardSet(root / split) as records:
            if list(records.classes) != self.data.classes:
                raise UserError(
                    f"{root / split} has {len(records.classes)} classes that are not the {len(self.data.classes)} "
                    f"that {self.checkpoint} was trained on; choose the data set it belongs to"
                )
            scores, rows = self.scores(records, tick)
            labels, unreadable = records.labels(rows), len(records) - len(rows)
        found = evaluate(scores, labels, self.data.counts, self.data.groups, self.data.classes)
        measured = {"split": split, "checkpoint": self.checkpoint.name, "step": self.step, "images": len(scores)}
        return measured | ({"unreadable_images": unreadable} if unreadable else {}) | found


def _precision(config: RunConfig, ranks: Ranks) -> precision.Precision:
    """The run's own, or what this device has where it cannot compute in that."""
    try:
        return precision.choose(config.train.precision, ranks.device)
    except UserError:
        return precision.choose("auto", ranks.device)


def _without_initial_weights(config: RunConfig) -> RunConfig:
    """The same model, but its weights come from the checkpoint."""
    return config.model_copy(update={"model": config.model.model_copy(update={"init": None})})
