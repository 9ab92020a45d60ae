"""Metrics against scikit-learn and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score

from fastlt.errors import UserError
from fastlt.evaluate.metrics import average_precision, evaluate

GROUPS = {"many": (101, None), "medium": (20, 100), "few": (0, 19)}
CLASSES = ["a", "b", "c", "d", "e"]
COUNTS = [500, 101, 100, 20, 3]


def scores_of(predictions: list[int]) -> np.ndarray:
    return np.eye(len(CLASSES), dtype=np.float32)[predictions]


class TestSingleLabel:
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 4])
    scores = scores_of([0, 0, 1, 0, 2, 0, 0, 4])  # accuracies 1, 1/2, 1/2, 0, 1

    def test_all_values_by_hand(self):
        found = evaluate(self.scores, self.labels, COUNTS, GROUPS, CLASSES)
        assert found["top1"] == 5 / 8
        assert found["many"] == 0.75
        assert found["medium"] == 0.25
        assert found["few"] == 1.0
        assert found["tail3"] == 0.5
        assert found["per_class"][1] == {"name": "b", "train_count": 101, "test_count": 2, "accuracy": 0.5}

    def test_a_group_without_test_images_is_absent_not_zero(self):
        found = evaluate(self.scores[:-1], self.labels[:-1], COUNTS, GROUPS, CLASSES)
        assert "few" not in found
        assert found["tail3"] == pytest.approx((0.5 + 0.5 + 0) / 3)
        assert found["per_class"][4] == {"name": "e", "train_count": 3, "test_count": 0, "accuracy": None}

    def test_a_group_without_classes_is_absent(self):
        found = evaluate(self.scores, self.labels, [500] * 5, GROUPS, CLASSES)
        assert found.keys() == {"top1", "many", "tail3", "per_class"}

    def test_a_group_weighs_classes_not_images(self):
        labels = np.array([0] * 99 + [1])
        found = evaluate(scores_of([0] * 100), labels, COUNTS, GROUPS, CLASSES)
        assert found["top1"] == 0.99
        assert found["many"] == 0.5

    @given(arrays.arrays(np.float32, (30, 5), elements=st.floats(-5, 5, width=32)), st.data())
    @settings(max_examples=30)
    def test_against_numpy(self, scores, data):
        labels = data.draw(arrays.arrays(np.int64, 30, elements=st.integers(0, 4)))
        found = evaluate(scores, labels, COUNTS, GROUPS, CLASSES)
        assert found["top1"] == pytest.approx(np.mean(np.argmax(scores, 1) == labels))
        for index, row in enumerate(found["per_class"]):
            members = labels == index
            expected = np.mean(np.argmax(scores[members], 1) == index) if members.any() else None
            assert row["accuracy"] == (pytest.approx(expected) if members.any() else None)


class TestMultiLabel:
    def problem(self, seed: int = 0, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        labels = (random.random((images, 5)) < 0.3).astype(np.int8)
        labels[0] = 1
        return random.normal(0, 4, (images, 5)).astype(np.float32), labels

    def test_is_the_mean_of_scikit_learns_average_precision(self):
        scores, labels = self.problem()
        found = evaluate(scores, labels, COUNTS, GROUPS, CLASSES)
        expected = [average_precision_score(labels[:, c], scores[:, c]) for c in range(5)]
        assert found["mAP"] == pytest.approx(np.mean(expected), abs=1e-6)
        assert found["many"] == pytest.approx(np.mean(expected[:2]), abs=1e-6)
        assert [row["average_precision"] for row in found["per_class"]] == pytest.approx(expected, abs=1e-6)
        assert [row["test_count"] for row in found["per_class"]] == labels.sum(0).tolist()
        assert found["classes_without_positives"] == 0

    def test_a_class_without_positives_is_left_out_and_counted(self):
        scores, labels = self.problem()
        labels[:, 4] = 0
        found = evaluate(scores, labels, COUNTS, GROUPS, CLASSES)
        whole = average_precision_score(labels[:, :4], scores[:, :4])
        assert found["mAP"] == pytest.approx(whole, abs=1e-6)
        assert found["classes_without_positives"] == 1
        assert "few" not in found
        assert found["per_class"][4]["average_precision"] is None

    def test_unknown_labels_are_left_out_class_by_class(self):
        scores, labels = self.problem()
        known = np.random.default_rng(1).random(labels.shape) < 0.6
        known[0] = True
        expected = [average_precision_score(labels[k, c], scores[k, c]) for c, k in enumerate(known.T)]
        assert average_precision(scores, np.where(known, labels, -1)) == pytest.approx(expected, abs=1e-6)

    def test_a_class_of_which_no_negative_is_known_is_left_out_and_counted(self):
        """Any score would give it 1; the classes that have both are those of Ben-Baruch et al.'s mAP_partial."""
        scores, labels = self.problem()
        labels[labels[:, 1] == 0, 1] = -1
        found = evaluate(scores, labels, COUNTS, GROUPS, CLASSES)
        others = [0, 2, 3, 4]
        assert found["mAP"] == pytest.approx(average_precision_score(labels[:, others], scores[:, others]), abs=1e-6)
        assert found["per_class"][1]["average_precision"] is None
        assert (found["classes_without_positives"], found["classes_without_negatives"]) == (0, 1)

    @pytest.mark.parametrize("change", [lambda s: 100 * s, lambda s: 1e-3 * s, lambda s: s + 1000.0, np.tanh])
    def test_only_the_order_of_scores_matters(self, change):
        """Raw scores are compared: a sigmoid would make ties of 30 and 40."""
        scores, labels = self.problem()
        scores = scores.astype(np.float64)
        assert average_precision(change(scores), labels).tolist() == average_precision(scores, labels).tolist()

    @given(
        arrays.arrays(np.float32, 20, elements=st.sampled_from([-40.0, -0.5, 0.0, 0.5, 30.0, 40.0])),
        arrays.arrays(np.int8, 20, elements=st.integers(0, 1)).filter(lambda labels: 0 < labels.sum() < 20),
    )
    def test_ties_count_as_scikit_learn_counts_them(self, scores, labels):
        (found,) = average_precision(scores[:, None], labels[:, None])
        assert found == pytest.approx(average_precision_score(labels, scores), abs=1e-6)

    def test_nothing_positive_at_all_is_the_users_to_mend(self):
        scores, labels = self.problem()
        with pytest.raises(UserError, match="no class has a positive image"):
            evaluate(scores, np.zeros_like(labels), COUNTS, GROUPS, CLASSES)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.ones((4, 5), np.int8)])
def test_scores_that_are_no_numbers_are_named(bad, labels):
    scores = np.zeros((4, 5), np.float32)
    scores[2, 3] = bad
    with pytest.raises(UserError, match=f"image 2 for class d is {bad}"):
        evaluate(scores, labels, COUNTS, GROUPS, CLASSES)


def test_an_empty_split_is_refused():
    with pytest.raises(UserError, match="no image"):
        evaluate(np.zeros((0, 5)), np.zeros(0, np.int64), COUNTS, GROUPS, CLASSES)
