"""Thresholds by Matthews correlation: against a search that tries each candidate on its own."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastlt.errors import UserError
from fastlt.evaluate.thresholds import GRID, Thresholds, fit

LEVELS = [0.01, 0.05, 0.2, 0.3, 0.55, 0.7, 0.93]


def correlation_of(given, true):
    """Pearson's, which of yes and no is Matthews'; 0 where either is constant."""
    constant = given.all() or true.all() or not given.any() or not true.any()
    return 0.0 if constant else np.corrcoef(given, true)[0, 1]


def often(rows):
    """Each row ten times, so that there are images enough to tell something from chance."""
    values = np.repeat(np.array(rows), 10, axis=0)
    return values.astype(np.int8) if values.dtype.kind == "i" else values


def best_by_trying(probability, label, candidates):
    """The first candidate with the greatest correlation, and that."""
    known = label >= 0
    correlations = [correlation_of(probability[known] >= t, label[known] == 1) for t in candidates]
    place = int(np.argmax(np.round(correlations, 12)))
    return candidates[place], correlations[place]


def test_the_grid_is_that_of_the_study():
    assert GRID.tolist() == [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7]


@pytest.mark.parametrize("candidates", ["grid", "all"])
@given(
    arrays.arrays(np.float64, (25, 3), elements=st.sampled_from(LEVELS)),
    arrays.arrays(np.float64, (25, 3), elements=st.floats(0, 1)),
)
@settings(max_examples=40, deadline=None)
def test_the_first_best_candidate_is_found_if_it_tells_more_than_chance(candidates, probabilities, chance):
    labels = np.where(chance < 0.1, -1, probabilities + chance > 1).astype(np.int8)
    found = fit(probabilities, labels, GRID if candidates == "grid" else None)
    for c in range(3):
        known = labels[:, c] >= 0
        tried = GRID if candidates == "grid" else np.unique(probabilities[known, c])
        threshold, correlation = best_by_trying(probabilities[:, c], labels[:, c], tried) if known.any() else (0.5, 0)
        if correlation > 3 / np.sqrt(max(known.sum(), 1)):
            assert (found.values[c], found.mcc[c]) == (threshold, pytest.approx(correlation))
        else:
            assert np.isnan(found.mcc[c]) and found.values[c] == found.common


def test_of_equal_thresholds_the_lowest_is_taken():
    probabilities, labels = often([[0.1], [0.9]]), often([[0], [1]])
    assert fit(probabilities, labels).values.tolist() == [0.15]
    assert fit(probabilities, labels, None).values.tolist() == [0.9]


def test_a_score_that_equals_its_threshold_is_given():
    probabilities, labels = often([[0.2], [0.35]]), often([[0], [1]])
    exact = fit(probabilities, labels, np.array([0.35]))
    assert exact.mcc.tolist() == [1.0]
    assert exact.choose(probabilities).tolist() == [[False]] * 10 + [[True]] * 10


@pytest.mark.parametrize("constant", [0.01, 0.6, 0.99])
def test_a_label_with_constant_scores_takes_the_common_threshold_and_not_the_first_of_the_grid(constant):
    probabilities = often([[score, constant] for score in (0.1, 0.2, 0.65, 0.68)])
    labels = often([[0, 0], [0, 0], [1, 0], [1, 1]])
    found = fit(probabilities, labels)
    assert np.isnan(found.mcc[1]) and found.values[1] == found.common
    pooled, _ = best_by_trying(probabilities.ravel(), labels.ravel(), GRID)
    assert found.common == pooled > GRID[0]


def test_where_nothing_tells_anything_apart_the_threshold_is_a_half():
    found = fit(np.full((20, 2), 0.3), often([[0, 1], [0, 1]]))
    assert found.values.tolist() == [0.5, 0.5] and np.isnan(found.mcc).all()


def test_worse_than_chance_is_no_threshold():
    found = fit(often([[0.9], [0.8], [0.1], [0.2]]), often([[0], [0], [1], [1]]))
    assert np.isnan(found.mcc).all() and found.values.tolist() == [0.5]


def test_a_label_on_which_the_scores_say_nothing_rarely_gets_a_threshold_of_its_own():
    random = np.random.default_rng(0)
    found = fit(random.random((500, 200)), (random.random((500, 200)) < 0.02).astype(np.int8))
    assert np.isnan(found.mcc).mean() > 0.95


def test_the_probabilities_are_left_as_they_are():
    probabilities = np.random.default_rng(0).random((6, 2))
    before = probabilities.copy()
    fit(probabilities, (probabilities > 0.4).astype(np.int8), None)
    assert np.array_equal(probabilities, before)


class TestFile:
    classes = ["sky", "sun"]
    made = Thresholds(np.array([0.1, 0.35]), np.array([0.4, np.nan]), 0.35)

    def write(self, run):
        self.made.save(run, self.classes, {"checkpoint": "best.pt", "step": 7})
        return run

    def test_what_is_kept_reads_back(self, tmp_path):
        found = Thresholds.load(self.write(tmp_path), "best.pt", 7, self.classes)
        np.testing.assert_array_equal(found.values, self.made.values)
        np.testing.assert_array_equal(found.mcc, self.made.mcc)
        assert found.common == 0.35

    def test_those_of_other_weights_are_not_used(self, tmp_path):
        self.write(tmp_path)
        assert Thresholds.load(tmp_path, "last.pt", 7, self.classes) is None
        assert Thresholds.load(tmp_path, "best.pt", 8, self.classes) is None
        assert Thresholds.load(tmp_path / "elsewhere", "best.pt", 7, self.classes) is None

    @pytest.mark.parametrize("damage", ["{", "[]", '{"checkpoint": "best.pt", "step": 7}'])
    def test_a_damaged_file_is_named(self, tmp_path, damage):
        (tmp_path / "thresholds.json").write_text(damage)
        with pytest.raises(UserError, match="thresholds.json is damaged"):
            Thresholds.load(tmp_path, "best.pt", 7, self.classes)

    def test_those_of_other_labels_are_refused(self, tmp_path):
        path = self.write(tmp_path) / "thresholds.json"
        kept = json.loads(path.read_text())
        kept["labels"][0]["name"] = "moon"
        path.write_text(json.dumps(kept))
        with pytest.raises(UserError, match="labels are not those of the run"):
            Thresholds.load(tmp_path, "best.pt", 7, self.classes)
