"""Crop windows: inside the picture, within the ranges asked for, and spread as the law says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlt.augmentation import windows
from fastlt.augmentation.draws import Draws

shapes = st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), min_size=1, max_size=20)
shapes = shapes.map(lambda rows: np.array(rows, np.int32))


def draws(count: int) -> Draws:
    return Draws(11, np.arange(count))


def assert_inside(window: np.ndarray, shapes: np.ndarray) -> None:
    assert window.dtype == np.int32
    assert (window[:, :2] >= 0).all() and (window[:, 2:] >= 1).all()
    assert (window[:, :2] + window[:, 2:] <= shapes).all()


@settings(deadline=None)
@given(shapes, st.floats(0.01, 1))
def test_every_window_is_inside_its_picture(shapes, share):
    some = draws(len(shapes))
    assert_inside(windows.whole(shapes), shapes)
    assert_inside(windows.centre_square(shapes, share), shapes)
    assert_inside(windows.random_resized(some, shapes, (share, 1), (3 / 4, 4 / 3)), shapes)
    assert_inside(windows.random_sides(some, shapes, share, (0.5, 2)), shapes)


def test_random_resized_keeps_scale_and_ratio_where_a_try_fits():
    shapes = np.tile(np.array([300, 400], np.int32), (5000, 1))
    window = windows.random_resized(draws(5000), shapes, (0.2, 0.7), (0.5, 2.0))
    height, width = window[:, 2:].T.astype(float)
    area, ratio = height * width / 120_000, width / height
    assert area.min() > 0.195 and area.max() < 0.705
    assert ratio.min() > 0.49 and ratio.max() < 2.03


def test_random_resized_is_uniform_in_area_and_log_ratio_where_every_try_fits():
    shapes = np.tile(np.array([1000, 1000], np.int32), (20_000, 1))
    window = windows.random_resized(draws(20_000), shapes, (0.1, 0.5), (0.9, 1.1))
    area = window[:, 2:].prod(axis=1) / 1e6
    counts, _ = np.histogram(area, bins=8, range=(0.1, 0.5))
    assert abs(counts / 2500 - 1).max() < 0.08
    log_ratio = np.log(window[:, 3] / window[:, 2])
    counts, _ = np.histogram(log_ratio, bins=5, range=np.log((0.9, 1.1)))
    assert abs(counts / 4000 - 1).max() < 0.08


def test_random_resized_falls_back_to_the_largest_centred_window_of_an_allowed_ratio():
    shapes = np.array([[10, 1000], [1000, 10]], np.int32)
    window = windows.random_resized(draws(2), shapes, (0.9, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(window, [[0, 493, 10, 13], [493, 0, 13, 10]])


def test_random_resized_follows_the_law_of_torchvision():
    """Means and spreads of all four numbers agree with torchvision's, for a picture where many tries fail."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    scale, ratio, picture = (0.3, 1.0), (0.5, 2.0), torch.zeros(3, 200, 400)
    theirs = np.array([RandomResizedCrop.get_params(picture, scale, ratio) for _ in range(3000)])
    shapes = np.tile(np.array([200, 400], np.int32), (3000, 1))
    ours = windows.random_resized(draws(3000), shapes, scale, ratio)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.06)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.08)


def test_random_sides_keeps_the_ratio_or_shows_all():
    shapes = np.tile(np.array([[200, 300], [100, 230], [100, 700]], np.int32), (500, 1))
    window = windows.random_sides(draws(1500), shapes, 0.8, (0.5, 2.0))
    share = window[:, 2:] / shapes
    assert share.min() >= 0.795
    assert (window[0::3, 3] <= 2 * window[0::3, 2]).all()
    np.testing.assert_array_equal(window[2::3, 2:], shapes[2::3])  # 7 to 1: no try can fit
    assert share[0::3].mean() < 0.92


def test_the_centre_square_is_in_the_middle():
    window = windows.centre_square(np.array([[256, 512]], np.int32), 0.875)
    np.testing.assert_array_equal(window, [[16, 144, 224, 224]])
