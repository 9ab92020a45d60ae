"""Hidden labels: which become unknown, how often, and that nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.labels import LabelRows
from fastlt.data.partial import Hiding
from fastlt.data.partial import hide as hide_of
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from tests.data.made_sources import ListSource, encoded, pixels


def rows_of(matrix, default=0):
    matrix = np.asarray(matrix)
    return LabelRows.from_lists(
        [[(int(c), int(row[c])) for c in np.flatnonzero(row != default)] for row in matrix], matrix.shape[1], default
    )


def made(size=400, classes=12, default=0, seed=0):
    return rows_of(np.random.default_rng(seed).choice([1, 0, -1], (size, classes), p=[0.2, 0.7, 0.1]), default)


def hide(hiding, labels, dataset, seed):
    return hide_of(hiding, labels, np.arange(len(labels)), dataset, seed)


def dense(labels):
    return labels.dense(np.arange(len(labels)))


@pytest.mark.parametrize("default", [0, -1])
@pytest.mark.parametrize("rule", ["rps:0.3", "rps:0.9", "fpc:20"])
def test_a_label_stays_as_it_is_or_becomes_unknown(rule, default):
    labels = made(default=default)
    before, after = dense(labels), dense(hide(Hiding.parse(rule), labels, "made", 0))
    assert ((after == before) | (after == -1)).all()
    assert (after[before == -1] == -1).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_rps_hides_every_label_with_that_probability(share):
    labels = rows_of(np.random.default_rng(1).integers(0, 2, (3000, 10)))
    before, after = dense(labels), dense(hide(Hiding("rps", share), labels, "made", 3))
    for known in (0, 1):
        hidden = (after[before == known] == -1).mean(axis=0)
        assert abs(hidden - share) < 4 * np.sqrt(share * (1 - share) / (before == known).sum())
    assert abs((after == -1).mean(axis=0) - share).max() < 0.05, "in every class"


@pytest.mark.parametrize("default", [0, -1])
def test_fpc_keeps_so_many_positives_and_negatives_of_every_class(default):
    labels = made(default=default)
    before, after = dense(labels), dense(hide(Hiding("fpc", 90), labels, "made", 0))
    for known in (0, 1):
        there = (before == known).sum(axis=0)
        assert ((after == known).sum(axis=0) == np.minimum(there, 90)).all()


@pytest.mark.parametrize("default", [0, -1])
@pytest.mark.parametrize("rule", ["rps:0.3", "rps:0.9", "fpc:7"])
def test_only_the_rows_of_training_are_drawn_from(rule, default):
    labels, rows, hiding = made(default=default), np.arange(3, 400, 5), Hiding.parse(rule)
    before, after = labels.dense(rows), hide_of(hiding, labels, rows, "made", 0).dense(rows)
    assert ((after == before) | (after == -1)).all()
    if hiding.name == "fpc":
        for known in (0, 1):
            assert ((after == known).sum(axis=0) == np.minimum((before == known).sum(axis=0), 7)).all()
    else:
        assert np.array_equal(after, hide(hiding, labels, "made", 0).dense(rows)), "each by its own place"


def test_where_little_is_known_little_is_kept_in_memory():
    labels = rows_of(np.where(np.random.default_rng(0).random((500, 300)) < 0.01, 1, -1), default=-1)
    assert len(hide(Hiding("rps", 0.3), labels, "made", 0).index) < len(labels.index)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 5), st.sampled_from(["rps:0.5", "rps:0.7", "fpc:3"]))
def test_any_shape_and_the_same_every_time(size, classes, seed, rule):
    labels, hiding = made(size, classes, seed=seed), Hiding.parse(rule)
    first = dense(hide(hiding, labels, "made", seed))
    assert first.shape == (size, classes)
    assert np.array_equal(first, dense(hide(hiding, labels, "made", seed)))


def test_another_seed_hides_others():
    labels = made()
    first, other = (dense(hide(Hiding("rps", 0.5), labels, "made", seed)) for seed in (0, 1))
    assert (first != other).any()


@pytest.mark.parametrize(
    "text", ["rps", "rps:", "rps:0", "rps:1", "rps:x", "fpc:0", "fpc:1.5", "fpc:-3", "all:1", "rps:nan"]
)
def test_wrong_rules(text):
    with pytest.raises(UserError, match="write rps:SHARE"):
        Hiding.parse(text)


@pytest.mark.parametrize("rule", ["rps:0.3", "fpc:4"])
def test_on_disk_unknown_is_kept_apart_from_negative_and_only_in_train(rule, tmp_path):
    matrix = np.random.default_rng(4).integers(0, 2, (40, 3))
    items = [Item(f"{i}.png", encoded(pixels(i)), tuple(np.flatnonzero(row).tolist())) for i, row in enumerate(matrix)]
    source = ListSource({"train": items, "test": items}, classes=3, multi_label=True)
    report = build(source, tmp_path, hiding=Hiding.parse(rule), workers=1)
    assert report.splits["train"]["hidden"] == Hiding.parse(rule).describe()
    assert report.splits["test"]["hidden"] is None
    rows = np.arange(40)
    with ShardSet(tmp_path / "train") as train, ShardSet(tmp_path / "test") as test:
        expected = dense(hide(Hiding.parse(rule), rows_of(matrix), "list", 0))
        assert np.array_equal(train.labels(rows), expected)
        assert train.counts.tolist() == (expected == 1).sum(axis=0).tolist()
        assert np.array_equal(test.labels(rows), matrix)


def test_known_negatives_of_a_source_that_knows_few_labels(tmp_path):
    items = [Item("a.png", encoded(pixels(0)), (1,), negative=(0,)), Item("b.png", encoded(pixels(1)), (0, 2))]
    source = ListSource({"train": items}, classes=3, multi_label=True)
    source.label_default = -1
    build(source, tmp_path, workers=1)
    with ShardSet(tmp_path / "train") as train:
        assert train.labels(np.arange(2)).tolist() == [[0, 1, -1], [1, -1, 1]]


def test_one_label_an_image_cannot_be_hidden(tmp_path):
    source = ListSource({"train": [Item("a.png", encoded(pixels(0)), (0,))]}, classes=1)
    with pytest.raises(UserError, match="only one of several labels can be hidden"):
        build(source, tmp_path, hiding=Hiding("rps", 0.5))


def test_problems_of_the_annotations_are_listed_beside_the_data_set(tmp_path):
    source = ListSource({"train": [Item("a.png", encoded(pixels(0)), (0,))]}, classes=1)
    source.problems = [("labels.csv, line 7", "two labels; the picture was left out")]
    report = build(source, tmp_path, workers=1)
    assert "1 problems in the annotations were resolved by a rule" in report.warnings[-1]
    assert (
        tmp_path / "source-problems.txt"
    ).read_text() == "labels.csv, line 7\ttwo labels; the picture was left out\n"
