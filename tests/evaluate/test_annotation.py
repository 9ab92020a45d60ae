"""Metrics of image annotation by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from fastlt.evaluate.annotation import annotation_metrics, chosen

LABELS = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]], np.int8)
GIVEN = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], bool)


def test_all_values_by_hand():
    found = annotation_metrics(GIVEN, LABELS)
    precision, recall = (3 / 4 + 1 / 1 + 0) / 3, (3 / 3 + 1 / 2 + 0) / 3
    assert found == pytest.approx(
        {
            "class_precision": precision,
            "class_recall": recall,
            "class_f1": 2 * precision * recall / (precision + recall),
            "micro_precision": 4 / 5,
            "micro_recall": 4 / 6,
            "micro_f1": 2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6),
            "N+": 2,
        },
        abs=1e-6,
    )


def test_precision_recall_and_micro_f1_are_scikit_learns():
    random = np.random.default_rng(0)
    labels, given = random.random((50, 12)) < 0.3, random.random((50, 12)) < 0.3
    found = annotation_metrics(given, labels.astype(np.int8))
    for kind, average in (("class", "macro"), ("micro", "micro")):
        for name, score in (("precision", precision_score), ("recall", recall_score)):
            expected = score(labels, given, average=average, zero_division=0)
            assert found[f"{kind}_{name}"] == pytest.approx(expected, abs=1e-6)
    assert found["micro_f1"] == pytest.approx(f1_score(labels, given, average="micro"), abs=1e-6)


def test_f1_by_class_is_the_harmonic_mean_of_the_means_not_the_mean_of_f1():
    labels, given = np.array([[1, 0], [1, 1]], np.int8), np.array([[1, 1], [0, 1]], bool)
    found = annotation_metrics(given, labels)
    assert found["class_f1"] == pytest.approx(2 * 0.75 * 0.75 / 1.5, abs=1e-6)
    assert f1_score(labels, given, average="macro") == pytest.approx(2 / 3)


def test_a_label_that_is_never_given_has_precision_zero_and_nothing_given_is_no_error():
    found = annotation_metrics(np.zeros_like(GIVEN), LABELS)
    assert set(found.values()) == {0}


def test_a_class_without_positives_is_in_no_mean_by_class_but_its_errors_count_in_micro():
    labels = np.hstack([LABELS, np.zeros((4, 1), np.int8)])
    given = np.hstack([GIVEN, np.ones((4, 1), bool)])
    with_it, without = annotation_metrics(given, labels), annotation_metrics(GIVEN, LABELS)
    assert with_it["class_precision"] == without["class_precision"]
    assert with_it["micro_precision"] == pytest.approx(4 / 9)


def test_unknown_labels_count_nowhere():
    labels = LABELS.copy()
    labels[2] = -1
    known = [0, 1, 3]
    assert annotation_metrics(GIVEN, labels) == annotation_metrics(GIVEN[known], LABELS[known])


def test_a_threshold_is_reached_by_equality():
    assert chosen(np.array([[0.5, 0.4999999]]), 0.5).tolist() == [[True, False]]


def test_the_scores_are_left_as_they_are():
    scores = np.array([[0.2, 0.7]])
    chosen(scores, 0.5)
    assert scores.tolist() == [[0.2, 0.7]]
