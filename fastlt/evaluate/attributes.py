"""Metrics of attributes: groups of classes of which an image has exactly one, or it is unknown which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def values(scores: np.ndarray, attributes: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    """For each attribute the class of the highest score among its own, int64 [N], of scores [N, C]."""
    return {name: np.array(group)[scores[:, group].argmax(1)] for name, group in attributes.items()}


def measure(
    scores: np.ndarray,
    labels: np.ndarray,
    train_counts: Sequence[int],
    attributes: Mapping[str, list[int]],
    classes: Sequence[str],
) -> dict[str, dict]:
    """For each attribute, over the images in which it is known (one of its classes is positive):

    images, accuracy, balanced_accuracy (mean of the accuracies of the values that occur), and, beside them, what always
    giving the most frequent value of the training set would score: majority (its name), majority_accuracy and
    majority_balanced_accuracy. An attribute that is nowhere known is absent. `scores` [N, C], `labels` int8 [N, C].
    """
    found = {}
    for name, predicted in values(scores, attributes).items():
        group = np.array(attributes[name])
        own = labels[:, group] == 1
        known = own.any(1)
        if known.any():
            truth = group[own[known].argmax(1)]
            majority = group[np.asarray(train_counts)[group].argmax()]
            always = _accuracies(np.full_like(truth, majority), truth)
            row = {"images": int(known.sum()), **_accuracies(predicted[known], truth), "majority": classes[majority]}
            found[name] = row | {f"majority_{metric}": value for metric, value in always.items()}
    return found


def means(found: Mapping[str, dict]) -> dict[str, float]:
    """Over the attributes; nothing if none is known."""
    names = ("accuracy", "balanced_accuracy", "majority_accuracy")
    return {f"attribute_{name}": float(np.mean([row[name] for row in found.values()])) for name in names if found}


def _accuracies(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    right = predicted == truth
    by_value = [right[truth == value].mean() for value in np.unique(truth)]
    return {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(by_value))}
