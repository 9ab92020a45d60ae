"""The laws of sampling: what every stream promises, for any data set, batch and number of ranks."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlt import streams
from fastlt.config import StreamConfig
from fastlt.errors import UserError
from fastlt.inspection import realised_shares

SEED = st.integers(0, 2**32)


def members_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class members of a label matrix [N, C]."""
    return np.concatenate([[0], np.cumsum(labels.sum(0))]).astype(np.int64), np.nonzero(labels.T)[1]


def single_label(counts: list[int]) -> np.ndarray:
    return np.eye(len(counts), dtype=np.int64)[np.repeat(np.arange(len(counts)), counts)]


def stream_of(labels: np.ndarray, key: int = 1, **settings) -> streams.Stream:
    return streams.build(StreamConfig(**settings), members_of(labels), len(labels), key)


COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(sum)


@given(size=st.integers(1, 3000), key=SEED, epoch=st.integers(0, 10**6))
def test_uniform_shows_every_image_exactly_once_in_every_epoch(size, key, epoch):
    stream = streams.Uniform(size, key)
    assert sorted(stream.indices(epoch * size, size).tolist()) == list(range(size))


def test_uniform_orders_each_epoch_anew():
    stream = streams.Uniform(50, key=3)
    assert stream.indices(0, 50).tolist() != stream.indices(50, 50).tolist()


@given(counts=COUNTS, key=SEED, block=st.integers(0, 10**6), in_a_row=st.integers(1, 4))
def test_class_balanced_shows_every_class_once_a_block(counts, key, block, in_a_row):
    labels = single_label(counts)
    stream = stream_of(labels, key, sampling="class_balanced", images_per_class=in_a_row)
    present = np.flatnonzero(counts)
    length = len(present) * in_a_row
    drawn = labels[stream.indices(block * length, length)].argmax(1)
    assert (drawn.reshape(-1, in_a_row) == drawn[::in_a_row, None]).all()
    assert sorted(drawn[::in_a_row]) == present.tolist()


@given(counts=COUNTS, key=SEED, start=st.integers(0, 10**4))
def test_class_balanced_takes_the_images_of_a_class_in_turn(counts, key, start):
    """No image of a class comes again before all others of it have come, wherever one begins to look."""
    labels = single_label(counts)
    stream = stream_of(labels, key, sampling="class_balanced")
    classes = np.count_nonzero(counts)
    drawn = stream.indices(start * classes, classes * max(counts))
    for c in np.flatnonzero(counts):
        visits = drawn[labels[drawn, c] == 1][: counts[c]]
        assert sorted(visits.tolist()) == np.flatnonzero(labels[:, c]).tolist()


def test_class_balanced_orders_of_classes_are_all_equally_likely():
    stream = stream_of(single_label([1, 1, 1]), sampling="class_balanced")
    orders = stream.indices(0, 18_000).reshape(-1, 3) @ [9, 3, 1]
    counts = np.unique(orders, return_counts=True)[1]
    assert len(counts) == 6 and abs(counts - 1000).max() < 150


@pytest.mark.parametrize(
    ("sampling", "law"),
    [
        ("square_root", lambda n: np.sqrt(n)),
        ("effective_number", lambda n: n * (1 - 0.99) / (1 - 0.99**n)),
        ("reversed", lambda n: n.max() / n),
    ],
)
def test_weighted_streams_draw_classes_by_their_law_and_images_evenly(sampling, law):
    counts = np.array([200, 50, 10, 2])
    labels = single_label(counts)
    drawn = stream_of(labels, sampling=sampling, beta=0.99).indices(0, 100_000)
    shares = np.bincount(labels[drawn].argmax(1), minlength=4) / 100_000
    np.testing.assert_allclose(shares, law(counts) / law(counts).sum(), atol=0.006)
    first_class = np.bincount(drawn[drawn < 200], minlength=200)
    assert first_class.std() < 1.3 * first_class.mean() ** 0.5


def test_given_weights_are_kept_and_a_class_without_images_is_never_drawn():
    labels = single_label([5, 0, 5, 5])
    drawn = stream_of(labels, sampling="weights", weights=(1, 5, 3, 0)).indices(0, 20_000)
    shares = np.bincount(labels[drawn].argmax(1), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.25, 0, 0.75, 0], atol=0.02)


SAMPLINGS = st.sampled_from(["uniform", "class_balanced", "square_root", "reversed", "sequential"])


@settings(max_examples=30)
@given(sampling=SAMPLINGS, counts=COUNTS, start=st.integers(0, 3 * streams.CHUNK), length=st.integers(0, 500))
def test_a_position_does_not_depend_on_how_it_is_asked_for(sampling, counts, start, length):
    labels = single_label(counts)
    together = stream_of(labels, sampling=sampling).indices(start, length)
    other = stream_of(labels, sampling=sampling)
    backwards = [int(other.indices(start + i, 1)[0]) for i in reversed(range(0, length, 97))]
    assert together.dtype == np.int64
    assert together[::97].tolist() == backwards[::-1]


@given(step=st.integers(0, 1000), ranks=st.sampled_from([1, 2, 4, 8]))
def test_the_union_over_ranks_is_the_global_batch(step, ranks):
    stream = streams.Uniform(1000, key=5)
    parts = [stream.indices(*streams.rank_part(step, 48, rank, ranks)) for rank in range(ranks)]
    assert np.concatenate(parts).tolist() == stream.indices(step * 48, 48).tolist()


def test_a_batch_that_ranks_do_not_divide_is_refused():
    with pytest.raises(UserError, match="batch 10 is not divisible by 4 ranks"):
        streams.rank_part(0, 10, 0, 4)


@pytest.mark.parametrize(("epochs", "length", "batch", "steps"), [(1, 100, 32, 4), (2, 96, 32, 6), (0.5, 100, 50, 1)])
def test_a_run_has_as_many_steps_as_its_epochs_need(epochs, length, batch, steps):
    assert streams.steps_of(epochs, length, batch) == steps


def test_wrong_input_is_refused_in_one_line():
    labels = single_label([3, 2])
    with pytest.raises(UserError, match="3 given for 2 classes"):
        stream_of(labels, sampling="weights", weights=(1, 2, 3))
    with pytest.raises(UserError, match="not negative"):
        stream_of(labels, sampling="weights", weights=(1, -2))
    with pytest.raises(UserError, match="no image has a positive label"):
        stream_of(np.zeros((4, 2), np.int64), sampling="class_balanced")
    with pytest.raises(UserError, match="no images"):
        stream_of(np.zeros((0, 2), np.int64))


def label_matrix(name: str) -> np.ndarray:
    """gt_labels [N, C] of the published VOC-LT or COCO-LT list."""
    archive = Path(os.environ.get("FASTLT_DATA", "")) / "lt-splits.tar.xz"
    if not archive.is_file():
        pytest.skip("FASTLT_DATA names no folder with lt-splits.tar.xz")
    with tarfile.open(archive) as file:
        return np.array(json.load(file.extractfile(f"lt-splits/{name}.json"))["gt_labels"])


def expected_shares(labels: np.ndarray) -> np.ndarray:
    """1/C sum_i P(j | i): what class-aware sampling makes of the labels, in the limit."""
    return ((labels.T @ labels) / labels.sum(0)[:, None]).mean(0)


@pytest.mark.parametrize("name", ["voc_lt_2012", "coco_lt_2017"])
def test_class_balanced_makes_the_published_label_distribution(name):
    labels = label_matrix(name)
    stream = stream_of(labels, sampling="class_balanced")
    shares = realised_shares(stream, members_of(labels), len(labels), 1000 * labels.shape[1])
    np.testing.assert_allclose(shares, expected_shares(labels), atol=0.001)


def test_the_published_numbers_of_voc_lt_and_coco_lt():
    voc, coco = label_matrix("voc_lt_2012"), label_matrix("coco_lt_2017")
    person, cow, sheep = 14, 9, 16
    np.testing.assert_allclose(expected_shares(voc)[[person, cow, sheep]], [0.768, 0.052, 0.050], atol=0.0005)
    assert round(voc[:, person].mean(), 3) == 0.679
    shares = expected_shares(coco)
    np.testing.assert_allclose([shares[0], shares.min()], [0.634, 0.0127], atol=0.0005)


@given(counts=COUNTS, key=SEED, border=st.integers(0, 2 * streams.CHUNK), start=st.integers(0, 2 * streams.CHUNK))
@settings(max_examples=30)
def test_a_switched_stream_is_the_first_up_to_the_border_and_the_other_from_its_beginning_on(
    counts, key, border, start
):
    labels = single_label(counts)
    first, then = stream_of(labels, key), stream_of(labels, key + 1, sampling="class_balanced")
    switched = streams.Switched(stream_of(labels, key), stream_of(labels, key + 1, sampling="class_balanced"))
    assert switched.epoch_length == len(labels)
    switched.border = border
    before = max(0, min(border - start, 50))
    expected = [first.indices(start, before), then.indices(max(start - border, 0), 50 - before)]
    np.testing.assert_array_equal(switched.indices(start, 50), np.concatenate(expected))


def test_a_switched_stream_whose_border_is_never_told_is_the_first():
    labels = single_label([5, 3])
    switched = streams.Switched(stream_of(labels), stream_of(labels, sampling="class_balanced"))
    np.testing.assert_array_equal(switched.indices(7, 60), stream_of(labels).indices(7, 60))
