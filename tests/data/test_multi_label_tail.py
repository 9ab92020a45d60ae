"""VOC-LT's procedure: the published class order and reference curve, and counts close to the published ones."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fastlt.data.labels import LabelRows
from fastlt.data.longtail import Recipe, choose, group_limits, group_of
from fastlt.data.multi_label_tail import choose_multi_label, class_order, reference_sizes
from fastlt.errors import UserError

PUBLISHED_ORDER = [14, 8, 6, 10, 4, 15, 17, 19, 11, 1, 7, 13, 5, 3, 12, 2, 18, 0, 16, 9]  # of the 20 classes of VOC


@pytest.fixture(scope="module")
def lists():
    archive = Path(os.environ.get("FASTLT_DATA", "/nonexistent")) / "lt-splits.tar.xz"
    if not archive.exists():
        pytest.skip("FASTLT_DATA names no folder that holds lt-splits.tar.xz")
    with tarfile.open(archive) as packed:
        return {Path(m.name).stem: json.load(packed.extractfile(m)) for m in packed if m.name.endswith(".json")}


def rows_of(matrix):
    return LabelRows.from_lists([[(int(c), 1) for c in np.flatnonzero(row)] for row in matrix], len(matrix[0]))


def test_reference_curve_of_voc_lt():
    expected = [800, 529, 359, 248, 175, 125, 91, 67, 50, 38, 29, 23, 18, 14, 11, 9, 7, 6, 5, 4]
    assert reference_sizes(800, 20).tolist() == expected


def test_classes_are_ordered_by_the_sum_of_their_conditional_probabilities():
    rng = np.random.default_rng(0)
    matrix = (rng.random((200, 7)) < np.linspace(0.6, 0.05, 7)).astype(int)
    together = matrix.T @ matrix
    sums = (together / np.diag(together)[:, None]).sum(0)  # over i of P(j | i)
    assert class_order(rows_of(matrix)).tolist() == np.argsort(-sums, kind="stable").tolist()


def test_the_published_class_order_on_the_real_labels(lists):
    assert class_order(rows_of(lists["voc2012_trainval_gt"]["gt_labels"])).tolist() == PUBLISHED_ORDER


def test_counts_and_groups_are_close_to_the_published_ones(lists):
    labels, published = rows_of(lists["voc2012_trainval_gt"]["gt_labels"]), lists["voc_lt_2012"]
    wanted, limits = np.array(published["class_freq"]), group_limits(multi_label=True)
    subsets = [choose(Recipe("voc-lt"), labels, True, "voc", seed, list) for seed in range(10)]
    counts = np.array([labels.take(kept).counts() for kept in subsets])
    assert all(abs(len(kept) - 1142) < 0.05 * 1142 for kept in subsets)
    assert (np.abs(counts.mean(axis=0) - wanted) <= np.maximum(0.05 * wanted, 2.5)).all(), "a few percent"
    assert (np.abs(counts - wanted) <= np.maximum(0.15 * wanted, 5)).all(), "for each seed"
    groups = group_of(np.rint(counts.mean(axis=0)), limits)
    for name, theirs in {"head": "head", "medium": "middle", "tail": "tail"}.items():
        differing = set(groups[name].tolist()) ^ set(published["split"][theirs])
        assert all(min(abs(wanted[c] - 100), abs(wanted[c] - 20)) <= 2 for c in differing), "but at a limit"


def test_the_published_list_of_ids_gives_the_published_counts(lists):
    full, published = lists["voc2012_trainval_gt"], lists["voc_lt_2012"]
    labels = rows_of(full["gt_labels"])
    ids = [f"JPEGImages/{name}.jpg" for name in full["img_id"]]
    kept = choose(Recipe("ids", ids=frozenset(published["img_id"])), labels, True, "voc", 0, lambda: ids)
    assert labels.take(kept).counts().tolist() == published["class_freq"]


def test_the_choice_is_a_function_of_its_key():
    rng = np.random.default_rng(1)
    labels = rows_of((rng.random((900, 6)) < 0.3).astype(int))
    first, again, other = (choose_multi_label(labels, 90, parts) for parts in (("a", 0), ("a", 0), ("a", 1)))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert (np.diff(first) > 0).all()


def test_the_last_class_has_its_reference_size_as_far_as_there_are_images():
    rng = np.random.default_rng(2)
    labels = rows_of((rng.random((2000, 6)) < 0.2).astype(int))
    kept, last = choose_multi_label(labels, 120, ("a",)), class_order(labels)[-1]
    assert labels.take(kept).counts()[last] == reference_sizes(120, 6)[-1]


def test_recipes_for_one_label_refuse_several():
    with pytest.raises(UserError, match="does not fit several labels an image; choose none, ids, voc-lt, coco-lt"):
        choose(Recipe("step", 10), rows_of([[1, 1]]), True, "made", 0, list)
