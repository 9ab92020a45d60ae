"""What comes out, compared with Pillow: decoding exact, resizing within 2/255, crops and flips exact."""

import io

import numpy as np
import pytest
from dali_graphs import ALL_OPTIONS, encoded, photo, photos, pixels, shapes_of
from PIL import Image, ImageOps

from fastlt import augment, dali
from fastlt.augmentation import resize
from fastlt.config import PipelineConfig


def opened(record: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], upright, as Pillow decodes it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(record.tobytes()))).convert("RGB"))


def decoded(record: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 of the window, as the graphs decode it."""
    from nvidia.dali import fn, pipeline_def

    drawn = resize.parameters(np.array([window], np.int32))
    names = ("window_start", "window_shape")

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    def define():
        fed = [[record], *(drawn[name] for name in names)]
        picture, *rest = fn.external_source(source=lambda: fed, num_outputs=3, batch=True)
        return resize.decode(picture, dict(zip(names, rest, strict=True)), "cpu", "encoded")

    return np.array(define().run()[0][0])


def rotated(orientation: int) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(61, 83), quality=92, exif=exif)


def gray() -> Image.Image:
    return Image.fromarray(photo(61, 83)).convert("L")


FILES = {
    "jpeg 4:4:4": lambda: encoded(photo(61, 83), quality=95, subsampling=0),
    "jpeg 4:2:2": lambda: encoded(photo(61, 83), quality=90, subsampling=1),
    "jpeg 4:2:0": lambda: encoded(photo(61, 83), quality=75, subsampling=2),
    "jpeg progressive": lambda: encoded(photo(120, 83), quality=80, progressive=True),
    "jpeg gray": lambda: encoded(gray(), quality=85),
    "png": lambda: encoded(photo(61, 83), "PNG"),
    "png gray": lambda: encoded(gray(), "PNG"),
    "png palette": lambda: encoded(Image.fromarray(photo(61, 83)).quantize(64), "PNG"),
    "webp": lambda: encoded(photo(61, 83), "WEBP", quality=80),
    "bmp": lambda: encoded(photo(61, 83), "BMP"),
    **{f"exif {number}": lambda number=number: rotated(number) for number in range(1, 9)},
}


@pytest.mark.parametrize("kind", FILES)
def test_decoding_equals_pillow_whole_and_in_windows(kind):
    record = FILES[kind]()
    expected = opened(record)
    height, width = expected.shape[:2]
    for top, left, high, wide in ((0, 0, height, width), (7, 5, 31, 40), (height - 1, 0, 1, width), (3, 9, 16, 16)):
        seen = decoded(record, (top, left, high, wide))
        np.testing.assert_array_equal(seen, expected[top : top + high, left : left + wide])


SIDES = [(427, 640), (375, 500), (300, 200), (224, 224), (100, 640), (31, 47), (640, 90)]


@pytest.mark.parametrize("size", [32, 97, 224])
@pytest.mark.parametrize("sides", SIDES)
def test_squashing_is_within_2_of_255_of_pillow(size, sides, run):
    config = PipelineConfig(name="evaluate", size=size)
    pictures = [photo(*sides, which) for which in (0, 1)]
    seen = pixels(config, run(config, pictures))
    for picture, image in zip(pictures, seen, strict=True):
        expected = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(image - np.asarray(expected)).max() <= 2


@pytest.mark.parametrize("size", [32, 224])
def test_a_resized_window_is_within_2_of_255_of_pillow(size, run):
    config = PipelineConfig(name="random_resized_crop", size=size, horizontal_flip=0)
    pictures = [photos()[row % 2] for row in range(40)]
    seen = pixels(config, run(config, pictures, threads=2))
    drawn = augment.load(config.name).parameters(config, 1, np.arange(40), shapes_of(pictures))
    for row, picture in enumerate(pictures):
        (top, left), (height, width) = drawn["window_start"][row], drawn["window_shape"][row]
        part = Image.fromarray(picture[top : top + height, left : left + width])
        expected = part.resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(seen[row] - np.asarray(expected)).max() <= 2


def test_the_centre_crop_shows_the_middle(run):
    config = PipelineConfig(name="evaluate", size=224, resize="crop", crop_share=0.875)
    picture = photo(256, 400)
    seen = pixels(config, run(config, [picture]))[0]
    np.testing.assert_allclose(seen, picture[16:240, 88:312], atol=1e-3)


def test_pad_crop_and_flip_are_exact(run):
    config = PipelineConfig(name="crop_flip", size=32, pad=4, vertical_flip=0.5)
    pictures = [photo(32, 32, row % 2) for row in range(64)]
    seen = pixels(config, run(config, pictures))
    drawn = augment.load(config.name).parameters(config, 1, np.arange(64), shapes_of(pictures))
    for row, picture in enumerate(pictures):
        top, left = drawn["crop_start"][row] + 4
        expected = np.pad(picture, ((4, 4), (4, 4), (0, 0)))[top : top + 32, left : left + 32]
        expected = expected[::-1] if drawn["upside_down"][row] else expected
        expected = expected[:, ::-1] if drawn["mirror"][row] else expected
        np.testing.assert_allclose(seen[row], expected, atol=1e-3)


def test_grayscale_gives_exactly_equal_channels(run):
    jitter = {"hue": 30, "saturation": 0.5}
    config = PipelineConfig(name="squash", size=64, grayscale=1, color_jitter=jitter, mean=(0, 0, 0), std=(1, 1, 1))
    images = run(config, [photo(80, 90, row % 2) for row in range(8)])
    np.testing.assert_array_equal(images, images[..., :1].repeat(3, axis=-1))


def test_colours_are_the_composed_map_rounded_and_clipped(run):
    config = PipelineConfig(name="photometric", size=48, horizontal_flip=0)
    plain = PipelineConfig(name="evaluate", size=48)
    pictures = [photo(60, 70, row % 2) for row in range(24)]
    drawn = augment.load("photometric").parameters(config, 1, np.arange(24), shapes_of(pictures))
    seen = pixels(config, run(config, pictures))
    for row, picture in enumerate(pictures):
        (top, left), (height, width) = drawn["window_start"][row], drawn["window_shape"][row]
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        shown = pixels(plain, run(plain, [part]))[0]
        moved = shown @ drawn["color_matrix"][row].astype(np.float64).T + drawn["color_shift"][row]
        np.testing.assert_allclose(seen[row], np.clip(moved, 0, 255), atol=0.51)


def test_cutout_erases_its_square_to_the_mean_and_nothing_else(run):
    config = PipelineConfig(name="squash", size=32, horizontal_flip=0, cutout=10)
    pictures = [photo(32, 32)] * 20
    seen = run(config, pictures)
    plain = run(config.model_copy(update={"cutout": 0}), pictures)
    drawn = augment.load("squash").parameters(config, 1, np.arange(20), shapes_of(pictures))
    for row in range(20):
        (top, left), (height, width) = drawn["cutout_start"][row].astype(int), drawn["cutout_shape"][row].astype(int)
        expected = plain[row].copy()
        expected[top : top + height, left : left + width] = 0
        np.testing.assert_array_equal(seen[row], expected)


TRAINING = [{"name": name} for name in augment.NAMES if name != "evaluate"]
TRAINING += [{"name": "squash", **policy} for policy in ({"rand_augment": {}}, {"auto_augment": "cifar10"})]


@pytest.mark.parametrize("asked", TRAINING, ids=str)
def test_pixels_depend_on_key_and_position_alone(asked, run):
    config = PipelineConfig(size=40, **ALL_OPTIONS, **asked)
    pictures = [photo(50 + row, 60 - row, row % 2) for row in range(12)]
    reference = run(config, pictures)
    np.testing.assert_array_equal(reference, run(config, pictures, batch=4, threads=2, prefetch=3))
    np.testing.assert_array_equal(reference, run(config, pictures, batch=1))
    backwards = run(config, pictures[::-1], np.arange(12)[::-1], threads=2)
    np.testing.assert_array_equal(reference, backwards[::-1])
    assert (reference != run(config, pictures, key=2)).any()


def test_half_precision_is_the_rounded_float(run):
    config = PipelineConfig(name="random_resized_crop", size=40, **ALL_OPTIONS)
    pictures = [photo(50, 60)] * 4
    half = run(config, pictures, half=True)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, run(config, pictures), atol=2e-3)


def test_an_output_outlives_the_batches_after_it(run):
    config = PipelineConfig(name="evaluate", size=16)
    pictures = [np.full((16, 16, 3), value, np.uint8) for value in range(10, 90, 10)]
    seen = pixels(config, run(config, pictures, batch=1, prefetch=2))
    np.testing.assert_allclose(seen, np.stack(pictures), atol=1e-3)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_windows_that_do_not_decode_are_found(count):
    good = encoded(photo(40, 40))
    pictures = [good] * count
    start, shape = np.zeros((count, 2), np.int32), np.full((count, 2), 20, np.int32)
    assert dali.undecoded(pictures, start, shape) == []
    broken = sorted({0, count // 2, count - 1})
    for row in broken:
        pictures[row] = np.frombuffer(b"no picture", np.uint8) if row else good[:200]
    assert dali.undecoded(pictures, start, shape) == broken


def test_a_window_outside_of_its_picture_does_not_decode():
    inside, outside = np.array([[0, 0], [10, 0]], np.int32), np.full((2, 2), 31, np.int32)
    assert dali.undecoded([encoded(photo(40, 40))] * 2, inside, outside) == [1]
