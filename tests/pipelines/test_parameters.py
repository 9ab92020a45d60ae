"""Augmentation parameters are a pure function of (key, position), whatever else is in the batch."""

import numpy as np
import pytest
from dali_graphs import ALL_OPTIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlt import augment
from fastlt.augmentation.draws import Draws
from fastlt.config import PipelineConfig
from fastlt.errors import UserError

CONFIGS = [PipelineConfig(name=name, size=64, **ALL_OPTIONS) for name in augment.NAMES]
CONFIGS += [PipelineConfig(rand_augment={}), PipelineConfig(auto_augment="cifar10")]
sides = st.integers(1, 3000)


def draw(config, positions, shapes, key=5):
    positions, shapes = np.asarray(positions), np.asarray(shapes, np.int32)
    return augment.load(config.name).parameters(config, key, positions, shapes)


def test_an_unknown_recipe_is_named_with_the_nearest():
    with pytest.raises(UserError, match="did you mean squash"):
        augment.load("squish")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.tuples(st.integers(0, 2**40), sides, sides), min_size=1, max_size=9))
def test_a_row_does_not_depend_on_the_other_rows(config, rows):
    rows = np.array(rows)
    together = draw(config, rows[:, 0], rows[:, 1:])
    alone = [draw(config, row[None, 0], row[None, 1:]) for row in rows]
    for name, values in together.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name] for one in alone]), err_msg=name)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@settings(deadline=None, max_examples=30)
@given(shapes=st.lists(st.tuples(sides, sides), min_size=1, max_size=5))
def test_parameters_have_one_row_a_picture_and_a_type_that_dali_takes(config, shapes):
    drawn = draw(config, np.arange(len(shapes)), shapes)
    assert drawn.keys() == draw(config, [0], [[64, 64]]).keys()
    for name, values in drawn.items():
        assert len(values) == len(shapes), name
        assert values.dtype in (np.float32, np.int32), name
        assert values.flags.c_contiguous, name


def test_another_key_gives_another_view():
    config = PipelineConfig(name="random_resized_crop")
    shapes = np.full((50, 2), 300)
    first, second = (draw(config, np.arange(50), shapes, key) for key in (1, 2))
    assert (first["window_shape"] != second["window_shape"]).any(axis=1).mean() > 0.9


def test_draws_of_different_names_and_lanes_are_independent():
    draws = Draws(3, np.arange(20_000))
    columns = [draws.uniform("a"), draws.uniform("b"), draws.uniform("a", lane=1)]
    assert np.abs(np.corrcoef(columns) - np.eye(3)).max() < 0.03


def test_flips_come_with_their_probability():
    config = PipelineConfig(name="squash", horizontal_flip=0.3, vertical_flip=0.6)
    drawn = draw(config, np.arange(20_000), np.full((20_000, 2), 64))
    assert abs(drawn["mirror"].mean() - 0.3) < 0.015
    assert abs(drawn["upside_down"].mean() - 0.6) < 0.015
    assert abs(np.mean(drawn["mirror"] * drawn["upside_down"]) - 0.18) < 0.015


def test_crops_of_crop_flip_are_uniform_over_all_places():
    config = PipelineConfig(name="crop_flip", size=32, pad=2)
    drawn = draw(config, np.arange(25_000), np.full((25_000, 2), 32))
    rows, columns = drawn["crop_start"].T
    counts = np.bincount((rows + 2) * 5 + columns + 2, minlength=25)
    assert len(counts) == 25
    assert abs(counts / 1000 - 1).max() < 0.15


@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_cutout_is_a_square_cut_at_the_border(probability):
    config = PipelineConfig(name="squash", size=32, cutout=8, cutout_probability=probability)
    drawn = draw(config, np.arange(10_000), np.full((10_000, 2), 32))
    start, shape = drawn["cutout_start"], drawn["cutout_shape"]
    chosen = shape.prod(axis=1) > 0
    assert abs(chosen.mean() - probability) < 0.02
    assert (start >= 0).all() and (start + shape <= 32).all()
    assert (shape <= 8).all()
    inner = chosen & (start > 0).all(axis=1) & (start + shape < 32).all(axis=1)
    assert (shape[inner] == 8).all()
