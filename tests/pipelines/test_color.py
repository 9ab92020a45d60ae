"""Composed colour matrices equal the formulas applied one after the other in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt.augment import load
from fastlt.augmentation import color
from fastlt.augmentation.draws import Draws
from fastlt.config import ColorJitter

rgb = st.tuples(*[st.floats(0, 255)] * 3).map(np.array)
factor = st.floats(0, 3)


def through(colors: color.ColorMap, x: np.ndarray) -> np.ndarray:
    return colors.matrix[0] @ x + colors.shift[0]


def luma(x):
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]


@given(rgb, factor, factor, factor, st.floats(-50, 50), st.permutations([0, 1, 2]))
def test_a_composed_map_equals_its_steps(x, brightness, contrast, saturation, shift, order):
    one = np.ones(1)
    colors = color.brighten(color.identity(1), shift * one)
    colors = color.scale(colors, brightness * one)
    colors = color.scale(colors, contrast * one, about=128.0)
    colors = color.saturate(colors, saturation * one)
    colors = color.swap_channels(colors, np.array([order]))
    y = (x + shift) * brightness
    y = 128 + contrast * (y - 128)
    y = luma(y) + saturation * (y - luma(y))
    np.testing.assert_allclose(through(colors, x), y[list(order)], atol=1e-9 * (1 + np.abs(y).max()))


@given(rgb, st.floats(-180, 180))
def test_a_hue_rotation_turns_the_chroma_and_keeps_the_luma(x, degrees):
    turned = through(color.rotate_hue(color.identity(1), np.array([degrees])), x)
    before, after = color.YIQ @ x, color.YIQ @ turned
    assert after[0] == pytest.approx(before[0], abs=1e-9)
    expected = (before[1] + 1j * before[2]) * np.exp(1j * np.deg2rad(degrees))
    assert after[1] + 1j * after[2] == pytest.approx(expected, abs=1e-9)


@given(rgb)
def test_neutral_factors_change_nothing(x):
    one = np.ones(1)
    colors = color.scale(color.saturate(color.identity(1), one), one, about=128.0)
    np.testing.assert_allclose(through(color.rotate_hue(colors, 0 * one), x), x, atol=1e-9)


@given(rgb)
def test_gray_is_the_luma_in_three_equal_channels(x):
    gray = through(color.grayscale(color.identity(1), np.array([True])), x)
    assert gray[0] == gray[1] == gray[2] == pytest.approx(luma(x))


def test_jitter_comes_with_its_probability_and_stays_in_its_range():
    draws = Draws(1, np.arange(10_000))
    config = ColorJitter(brightness=0.4, probability=0.8)
    factors = color.jitter(color.identity(len(draws)), config, draws).matrix[:, 0, 0]
    changed = np.abs(factors - 1) > 1e-9
    assert abs(changed.mean() - 0.8) < 0.02
    assert factors.min() >= 0.6 - 1e-9 and factors.max() <= 1.4 + 1e-9
    assert abs(factors[changed].mean() - 1) < 0.01


def test_photometric_distortion_has_the_published_ranges():
    colors = load("photometric").distortion(Draws(2, np.arange(20_000)))
    gray = colors.matrix @ np.full(3, 100.0) + colors.shift  # only brightness b and contrast c move gray: (100 + b) c
    np.testing.assert_allclose(gray, gray[:, :1].repeat(3, axis=1), atol=1e-9)
    assert gray.min() >= (100 - 32) * 0.5 - 1e-6 and gray.max() <= (100 + 32) * 1.5 + 1e-6
    assert abs(np.mean(np.abs(gray[:, 0] - 100) < 1e-9) - 0.25) < 0.01  # neither of the two
