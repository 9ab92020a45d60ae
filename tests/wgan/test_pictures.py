"""What a critic sees of a real picture, and what is kept of made ones."""

import io

import numpy as np
import pytest
from PIL import Image

from fastlt.wgan.pictures import kept_pictures, png, real_picture
from fastlt.wgan.settings import Settings


def photograph(height, width):
    """Smooth, so that resizing by another way gives nearly the same."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.rint(255 * np.stack([y, x, (x + y) / 2], axis=-1)).astype(np.uint8)


def test_of_a_corel_picture_the_centre_of_122_by_186_is_seen_in_full_size():
    pixels = photograph(128, 192)
    seen = real_picture(pixels, Settings())
    centre = Image.fromarray(pixels[3:125, 3:189]).resize((192, 128), Image.Resampling.BILINEAR)
    truth = np.asarray(centre, np.float32).transpose(2, 0, 1) / 127.5 - 1
    assert seen.shape == (3, 128, 192) and seen.dtype == np.float32
    np.testing.assert_allclose(seen, truth, atol=1.01 / 127.5)
    assert seen.min() >= -1 and seen.max() <= 1


def test_a_portrait_picture_is_turned_by_90_degrees():
    pixels = photograph(192, 128)
    np.testing.assert_array_equal(real_picture(pixels, Settings()), real_picture(np.rot90(pixels), Settings()))


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (32, 32), (40, 300)])
def test_a_picture_of_any_size_is_not_distorted(shape):
    """Equally many levels a pixel of the picture, along both sides."""
    height, width = sorted(shape)
    seen = (real_picture(photograph(height, width), Settings()) + 1) * 127.5
    down, across = np.diff(seen[0, 40:90, 96]).mean(), np.diff(seen[1, 64, 60:130]).mean()
    assert down == pytest.approx(across, rel=0.1)
    assert seen[:, 64, 96] == pytest.approx(photograph(height, width)[height // 2, width // 2], abs=6)


def test_encoded_pictures_are_seen_as_their_pixels_are():
    pixels = photograph(128, 192)
    np.testing.assert_array_equal(real_picture(png(pixels), Settings()), real_picture(pixels, Settings()))


def test_kept_are_one_as_it_is_one_mirrored_and_one_turned_clockwise():
    levels = np.arange(3 * 3 * 2 * 4).reshape(3, 3, 2, 4)  # three pictures of 2 x 4
    plain, mirrored, turned = kept_pictures(levels / 127.5 - 1)
    last = levels.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(plain, last[0])
    np.testing.assert_array_equal(mirrored, last[1][:, ::-1])
    assert turned.shape == (4, 2, 3)
    np.testing.assert_array_equal(turned[0, -1], last[2][0, 0])  # its upper left corner is now the upper right one
    np.testing.assert_array_equal(turned[-1, -1], last[2][0, -1])


def test_png_keeps_every_level():
    pixels = photograph(64, 96)[:, ::-1]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)
