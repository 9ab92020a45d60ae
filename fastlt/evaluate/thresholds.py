"""A threshold for every label, so that what is probable for a rare label need not be probable for a frequent one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastlt.errors import UserError
from fastlt.evaluate.annotation import chosen
from fastlt.files import write_text

FILE = "thresholds.json"  # in the run folder
DEFAULT = 0.5
GRID = np.arange(1, 15) * 5 / 100  # .05, .10 ... .70
_DEVIATIONS = 3  # above chance, from where on a correlation tells something


@dataclass(frozen=True)
class Thresholds:
    """float64 [C] each: thresholds of probabilities, and the MCC there, NaN where the label takes the common one."""

    values: np.ndarray
    mcc: np.ndarray
    common: float  # of the labels that no candidate tells apart

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """bool [N, C] of float64 [N, C]."""
        return chosen(probabilities, self.values)

    def save(self, run: Path, classes: list[str], origin: dict) -> None:
        """Writes RUN/thresholds.json; `origin` says which checkpoint, step and images they were fitted on."""
        labels = [
            {"name": name, "threshold": float(value), "mcc": None if np.isnan(mcc) else float(mcc)}
            for name, value, mcc in zip(classes, self.values, self.mcc, strict=True)
        ]
        write_text(run / FILE, json.dumps(origin | {"common": self.common, "labels": labels}, indent=2) + "\n")

    @classmethod
    def load(cls, run: Path, checkpoint: str, step: int, classes: list[str]) -> Thresholds | None:
        """Those fitted to this checkpoint of the run; None if there are none, or if they are of other weights.

        Raises UserError if the file is damaged.
        """
        path = run / FILE
        if not path.exists():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if (kept["checkpoint"], kept["step"]) != (checkpoint, step):
                return None
            if [label["name"] for label in kept["labels"]] != classes:
                raise ValueError("its labels are not those of the run")
            values = np.array([label["threshold"] for label in kept["labels"]], np.float64)
            mcc = np.array([np.nan if label["mcc"] is None else label["mcc"] for label in kept["labels"]], np.float64)
            return cls(values, mcc, float(kept["common"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); run fastlt thresholds {run} again, or remove it") from error


def fit(probabilities: np.ndarray, labels: np.ndarray, candidates: np.ndarray | None = GRID) -> Thresholds:
    """For every label the candidate with the greatest Matthews correlation of what is given and what is true.

    `probabilities` float64 [N, C]; `labels` int [N, C] in {1, 0, -1}, of which unknown ones are left out; `candidates`
    ascending, None for all distinct probabilities of the label. Of equal ones the first, that is the lowest, is taken.

    A threshold that all images reach, or none, has correlation 0. One of unrelated scores has a standard deviation of
    1 / sqrt(n) over n images, and the best of many candidates is rarely 0; so only one above 3 / sqrt(n) tells
    something. A label that has none takes `common`: the candidate that is best when the entries of all labels are
    counted together, or 0.5 if that tells nothing either.
    """
    size = probabilities.shape[1]
    common, _ = _best(probabilities.ravel(), labels.ravel(), candidates) or (DEFAULT, 0)
    values, mcc = np.full(size, common), np.full(size, np.nan)
    for index in range(size):
        if best := _best(probabilities[:, index], labels[:, index], candidates):
            values[index], mcc[index] = best
    return Thresholds(values, mcc, common)


def matthews(right: np.ndarray, given: np.ndarray, positives: int, total: int) -> np.ndarray:
    """Matthews correlation of `given` labels, `right` of which are true; 0 where all or none are given or true."""
    right, given = right.astype(np.float64), given.astype(np.float64)
    spread = np.sqrt(given * (total - given)) * np.sqrt(float(positives) * (total - positives))
    return np.divide(right * total - given * positives, spread, out=np.zeros_like(right), where=spread > 0)


def _best(probability: np.ndarray, label: np.ndarray, candidates: np.ndarray | None) -> tuple[float, float] | None:
    """The first candidate with the greatest correlation, and that, if it tells something; of one label or of all."""
    known = label >= 0
    order = np.argsort(probability[known], kind="stable")
    rising, true = probability[known][order], label[known][order] == 1
    tried = np.unique(rising) if candidates is None else candidates
    if not len(rising):
        return None
    below = np.searchsorted(rising, tried, side="left")  # so that reaching the threshold is enough
    right = true.sum() - np.concatenate([[0], np.cumsum(true)])[below]
    correlation = matthews(right, len(rising) - below, int(true.sum()), len(rising))
    place = int(correlation.argmax())
    tells = correlation[place] > _DEVIATIONS / np.sqrt(len(rising))
    return (float(tried[place]), float(correlation[place])) if tells else None
