"""Metrics of image annotation: which labels an image is given, once each label has its threshold."""

from __future__ import annotations

import numpy as np

_EPSILON = 1e-7  # so that a label that is never given has precision 0


def chosen(probabilities: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """bool [N, C]: a label is given where its probability reaches its threshold (>=), here as everywhere."""
    return probabilities >= thresholds


def annotation_metrics(given: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Precision, recall and F1 by class and over all labels (micro), and N+, as Corel-5k is measured with.

    `given` bool [N, C]; `labels` int [N, C] in {1, 0, -1}, of which unknown ones count nowhere. With TP, given and true
    labels counted over the images: class_precision is the mean over classes of TP / (given + 1e-7), class_recall of
    TP / (true + 1e-7), class_f1 the harmonic mean of these two means (not the mean of F1); micro_* are the same of the
    counts summed over classes; N+ is the number of classes with TP > 0. Means by class are over the classes that have a
    positive; one of them that is never given has precision 0.
    """
    given = given & (labels >= 0)
    right, given_count, true_count = ((given & (labels == 1)).sum(0), given.sum(0), (labels == 1).sum(0))
    has_positive = true_count > 0
    by_class = [(right / (count + _EPSILON))[has_positive].mean() for count in (given_count, true_count)]
    micro = [right.sum() / (count.sum() + _EPSILON) for count in (given_count, true_count)]
    found = _named("class", *by_class) | _named("micro", *micro)
    return found | {"N+": int((right > 0).sum())}


def _named(kind: str, precision: float, recall: float) -> dict[str, float]:
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return {f"{kind}_precision": float(precision), f"{kind}_recall": float(recall), f"{kind}_f1": float(f1)}
