"""Metrics of long-tailed recognition: over all classes, and over groups of classes by their training images.

All values are fractions in [0, 1]. A group, or a class, without test images has no value: it is absent (None in
the table of classes) rather than 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastlt.errors import UserError
from fastlt.evaluate.attributes import means, measure

Limits = tuple[int, int | None]  # fewest and most training images of a class, both included; None: no bound

_TAIL = 3  # classes


def evaluate(
    scores: np.ndarray,
    labels: np.ndarray,
    train_counts: Sequence[int],
    groups: Mapping[str, Limits],
    classes: Sequence[str],
    attributes: Mapping[str, list[int]] | None = None,
) -> dict:
    """Every metric of a split from its scores, float [N, C].

    `labels` int64 [N] (one class an image) gives {"top1", every group's name, "tail3", "per_class"}: a group's value
    is the mean of its classes' accuracies, tail3 that of the three classes with fewest training images; of equal
    highest scores the first counts. `labels` int8 [N, C] in {1, 0, -1} gives {"mAP", every group's name,
    "classes_without_positives", "classes_without_negatives", "per_class"}: see `average_precision`; the mean of a set
    that is partly annotated is Ben-Baruch et al.'s (CVPR 2022) mAP_partial. "per_class" lists {"name", "train_count",
    "test_count", "accuracy" or "average_precision"}. `attributes` (name -> its classes) adds "attributes" and their
    means: see `attributes.measure`. Raises UserError for scores that are not finite.
    """
    scores, labels, counts = np.asarray(scores), np.asarray(labels), np.asarray(train_counts)
    _check_finite(scores, classes)
    single = labels.ndim == 1
    if single:
        test_counts, values = _class_accuracies(scores, labels)
        overall = {"top1": float((scores.argmax(1) == labels).mean())}
    else:
        test_counts, values = (labels == 1).sum(0), average_precision(scores, labels)
        overall = {"mAP": _mean(values)}
    found = overall | _group_means(values, counts, groups)
    if single:
        found["tail3"] = _tail_mean(values, counts)
    else:
        found["classes_without_positives"] = int((test_counts == 0).sum())
        found["classes_without_negatives"] = int(((labels == 0).sum(0) == 0).sum())
    if attributes and not single:
        by_attribute = measure(scores, labels, counts, attributes, classes)
        found |= means(by_attribute) | {"attributes": by_attribute}
    name = "accuracy" if single else "average_precision"
    return found | {"per_class": _table(name, values, classes, counts, test_counts)}


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [C]: non-interpolated average precision of each class, NaN where it has no positive or no negative.

    AP = sum over thresholds t of (R_t - R_{t-1}) P_t; equal scores share one threshold. `scores` float [N, C],
    `labels` int [N, C] in {1, 0, -1}; an image whose label is unknown (-1) is left out for that class.
    """
    import torch
    from torchmetrics.functional.classification import binary_average_precision

    found = np.full(scores.shape[1], np.nan)
    for index in np.flatnonzero((labels == 1).any(0) & (labels == 0).any(0)):
        known = labels[:, index] >= 0
        score = torch.from_numpy(_ranks(scores[known, index]))
        found[index] = binary_average_precision(score, torch.from_numpy(labels[known, index] == 1).long())
    return found


def _ranks(scores: np.ndarray) -> np.ndarray:
    """The same order and ties in [0, 1): torchmetrics would squash other scores by a sigmoid, which makes ties."""
    distinct, rank = np.unique(scores, return_inverse=True)
    return rank / len(distinct)


def _class_accuracies(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test images (int64 [C]) and accuracy (float64 [C], NaN without test images) of each class."""
    size = scores.shape[1]
    totals = np.bincount(labels, minlength=size)
    right = np.bincount(labels[scores.argmax(1) == labels], minlength=size)
    return totals, np.divide(right, totals, out=np.full(size, np.nan), where=totals > 0)


def _group_means(values: np.ndarray, counts: np.ndarray, groups: Mapping[str, Limits]) -> dict[str, float]:
    members = {
        name: (counts >= low) & (counts <= (np.inf if high is None else high)) & ~np.isnan(values)
        for name, (low, high) in groups.items()
    }
    return {name: float(values[inside].mean()) for name, inside in members.items() if inside.any()}


def _tail_mean(values: np.ndarray, counts: np.ndarray) -> float:
    """Mean over the rarest classes that have a value; of equally rare ones the later in the list are taken."""
    rarest_last = np.argsort(-counts, kind="stable")
    rarest_last = rarest_last[~np.isnan(values[rarest_last])]
    return _mean(values[rarest_last[-_TAIL:]])


def _mean(values: np.ndarray) -> float:
    valid = values[~np.isnan(values)]
    if not valid.size:
        raise UserError(
            "no class has a positive image (and, of several labels, a negative one) in this split, so that nothing can "
            "be measured; use another"
        )
    return float(valid.mean())


def _table(value_name: str, values, classes, counts, test_counts) -> list[dict]:
    rows = zip(classes, counts, test_counts, values, strict=True)
    return [
        {
            "name": name,
            "train_count": int(train),
            "test_count": int(test),
            value_name: None if np.isnan(value) else float(value),
        }
        for name, train, test, value in rows
    ]


def _check_finite(scores: np.ndarray, classes: Sequence[str]) -> None:
    if not scores.size:
        raise UserError("the split holds no image, so that nothing can be measured; build it with some")
    if not np.isfinite(scores).all():
        image, index = np.argwhere(~np.isfinite(scores))[0]
        raise UserError(
            f"the score of image {image} for class {classes[index]} is {scores[image, index]}: the weights are not "
            "finite; evaluate an earlier checkpoint, or train with a lower optimizer.lr or train.clip_norm"
        )
