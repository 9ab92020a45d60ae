"""A trained run, loaded from a checkpoint to evaluate or to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastlt import methods
from fastlt.address import Address
from fastlt.config import RunConfig
from fastlt.data.shards import ShardSet
from fastlt.distributed import Ranks
from fastlt.errors import UserError
from fastlt.evaluate.annotation import annotation_metrics, chosen
from fastlt.evaluate.metrics import evaluate
from fastlt.evaluate.probability import probabilities
from fastlt.evaluate.scoring import score, score_parts
from fastlt.evaluate.thresholds import DEFAULT, Thresholds
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

    def thresholds(self) -> Thresholds | None:
        """Those that `fastlt thresholds` fitted to these very weights and keeps in the run."""
        return Thresholds.load(self.checkpoint.parents[1], self.checkpoint.name, self.step, self.data.classes)

    def _annotation(self, scores: np.ndarray, labels: np.ndarray) -> dict[str, dict]:
        """`annotation_metrics` at the threshold 0.5, and at the run's own where it has them."""
        chances = probabilities(scores, multi_label=True)
        given = {f"threshold {DEFAULT}": chosen(chances, DEFAULT)}
        if fitted := self.thresholds():
            given["fitted thresholds"] = fitted.choose(chances)
        return {name: annotation_metrics(labelled, labels) for name, labelled in given.items()}

    def open_split(self, split: str, path: Path | Address | None = None) -> ShardSet:
        """A split of the run's data set, or of the one at `path`. Raises UserError if its classes are others."""
        records = ShardSet((path or self.config.data.path) / split)
        if list(records.classes) != self.data.classes:
            records.close()
            raise UserError(
                f"{records.folder} has {len(records.classes)} classes that are not the {len(self.data.classes)} "
                f"that {self.checkpoint} was trained on; choose the data set it belongs to"
            )
        return records

    def measure(self, split: str, path: Path | Address | None = None, tick=None) -> dict:
        """The metrics of a split of the run's data set, or of the one at `path`; those of parts by name in "parts".

        Raises UserError if there is no such split or its classes are others.
        """
        with self.open_split(split, path) as records:
            with self.precision.autocast():
                scores, parts, rows = score_parts(self.method, records, self.config, self.ranks, tick)
            labels, unreadable = records.labels(rows), len(records) - len(rows)
        data = self.data
        found, *of_parts = (
            evaluate(values, labels, data.counts, data.groups, data.classes, data.attributes)
            for values in (scores, *parts.values())
        )
        if data.multi_label:
            found["annotation"] = self._annotation(scores, labels)
        if parts:
            found["parts"] = dict(zip(parts, of_parts, strict=True))
        measured = {"split": split, "checkpoint": self.checkpoint.name, "step": self.step, "images": len(scores)}
        return measured | ({"unreadable_images": unreadable} if unreadable else {}) | found


@dataclass(frozen=True)
class EarlierRuns:
    """Opens earlier runs for the one of `config`, whose own precision stays in force."""

    config: RunConfig
    ranks: Ranks
    precision: precision.Precision

    def __call__(self, folder: Path) -> Trained:
        """Raises UserError if there is no trained run in `folder`, or an unfinished one."""
        run = RunFolder(folder)
        run.check_finished()
        trained = Trained.load(run, self.ranks)
        self.precision.activate()
        return trained


def _precision(config: RunConfig, ranks: Ranks) -> precision.Precision:
    """The run's own, or what this device has where it cannot compute in that."""
    try:
        return precision.choose(config.train.precision, ranks.device)
    except UserError:
        return precision.choose("auto", ranks.device)


def _without_initial_weights(config: RunConfig) -> RunConfig:
    """The same model, but its weights come from the checkpoint, and it looks at pictures."""
    return config.model_copy(update={"model": config.model.model_copy(update={"init": None, "cache_frozen": False})})
