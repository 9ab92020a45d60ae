"""Metrics of attributes against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from fastlt.evaluate.attributes import measure, values
from fastlt.evaluate.metrics import evaluate

ATTRIBUTES = {"neck": [0, 1, 2], "sleeve": [3, 4]}
CLASSES = ["neck=0", "neck=1", "neck=6", "sleeve=0", "sleeve=3"]
COUNTS = [20, 5, 60, 3, 80]


def problem(images=60, seed=0):
    """Scores, labels with some unknown attributes, and the true value of each attribute (-1: unknown)."""
    random = np.random.default_rng(seed)
    labels = np.zeros((images, 5), np.int8)
    truth = {}
    for name, group in ATTRIBUTES.items():
        known = random.random(images) < 0.7
        truth[name] = np.where(known, random.choice(group, images), -1)
        labels[np.arange(images)[known], truth[name][known]] = 1
        labels[np.ix_(~known, group)] = -1
    return random.normal(size=(images, 5)), labels, truth


def test_the_value_is_the_highest_score_inside_its_own_group():
    scores = np.array([[0.0, 2.0, 1.0, 9.0, 8.0], [5.0, 2.0, 1.0, 1.0, 3.0]])
    found = values(scores, ATTRIBUTES)
    assert found["neck"].tolist() == [1, 0] and found["sleeve"].tolist() == [3, 4]


def test_accuracies_are_those_of_the_images_in_which_the_attribute_is_known():
    scores, labels, truth = problem()
    found = measure(scores, labels, COUNTS, ATTRIBUTES, CLASSES)
    for name, predicted in values(scores, ATTRIBUTES).items():
        known = truth[name] >= 0
        assert found[name]["images"] == known.sum() < len(known)
        assert found[name]["accuracy"] == pytest.approx(accuracy_score(truth[name][known], predicted[known]))
        balanced = balanced_accuracy_score(truth[name][known], predicted[known])
        assert found[name]["balanced_accuracy"] == pytest.approx(balanced)


def test_the_baseline_always_gives_the_most_frequent_value_of_training():
    scores, labels, truth = problem()
    found = measure(scores, labels, COUNTS, ATTRIBUTES, CLASSES)["neck"]
    known = truth["neck"] >= 0
    assert found["majority"] == "neck=6"
    assert found["majority_accuracy"] == pytest.approx((truth["neck"][known] == 2).mean())
    assert found["majority_balanced_accuracy"] == pytest.approx(1 / 3)


def test_an_attribute_that_is_nowhere_known_is_absent_not_zero():
    scores, labels, _ = problem()
    labels[:, :3] = -1
    assert measure(scores, labels, COUNTS, ATTRIBUTES, CLASSES).keys() == {"sleeve"}


def test_evaluation_gives_each_attribute_and_their_means():
    scores, labels, _ = problem()
    found = evaluate(scores, labels, COUNTS, {}, CLASSES, ATTRIBUTES)
    rows = found["attributes"]
    assert rows == measure(scores, labels, COUNTS, ATTRIBUTES, CLASSES)
    for metric in ("accuracy", "balanced_accuracy", "majority_accuracy"):
        assert found[f"attribute_{metric}"] == pytest.approx((rows["neck"][metric] + rows["sleeve"][metric]) / 2)
    assert "attributes" not in evaluate(scores, labels, COUNTS, {}, CLASSES)
