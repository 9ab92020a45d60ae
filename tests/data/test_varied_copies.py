"""The six operations of offline balancing: what each does, and that copies are a function of their key."""

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastlt.data import varied_copies
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.data.varied_copies import OPERATIONS, vary
from fastlt.errors import UserError
from fastlt.hashing import uniform
from tests.data.made_sources import ListSource, encoded, pixels

MIDDLE = np.full(15, 0.5)  # draws that change nothing, where an operation has such


def draws(seed):
    return uniform(seed, np.arange(15))


@pytest.mark.parametrize("operation", [operation for operation, _ in OPERATIONS])
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_operation_keeps_size_and_type(operation, seed, height, width):
    out = operation(pixels(seed, height, width), draws(seed))
    assert out.shape == (height, width, 3) and out.dtype == np.uint8


def test_copies_are_a_function_of_their_key():
    picture = pixels(0, 24, 30)
    assert np.array_equal(vary(picture, 5), vary(picture, 5))
    assert len({vary(picture, key).tobytes() for key in range(20)}) > 15


def test_each_operation_comes_as_often_as_published(monkeypatch):
    came = np.zeros(len(OPERATIONS))

    def counting(number):
        def operation(picture, _):
            came[number] += 1
            return picture

        return operation

    counted = [(counting(number), probability) for number, (_, probability) in enumerate(OPERATIONS)]
    monkeypatch.setattr(varied_copies, "OPERATIONS", counted)
    for key in range(2000):
        vary(pixels(0, 2, 2), key)
    assert np.abs(came / 2000 - [0.5, 0.75, 0.5, 0.5, 0.75, 0.5]).max() < 0.05


def test_no_shift_scale_or_turn_leaves_the_picture():
    picture = pixels(1, 20, 30)
    assert np.array_equal(varied_copies.shift_scale_rotate(picture, MIDDLE), picture)


def test_a_shift_moves_and_mirrors_at_the_border():
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, :2] = 200
    moved = varied_copies.shift_scale_rotate(picture, np.array([1.0, *[0.5] * 14]))  # a fifth of 20 to the right
    assert (moved[5, :, 0] == [0, 0, 200, 200, 200, 200, *[0] * 14]).all()


def moved_inside_its_mirror_images(picture, drawn):
    """The same by one transformation of the picture with four mirror images on every side."""
    height, width = picture.shape[:2]
    right, down, larger, turn = 2 * drawn[:4] - 1
    angle, scale = np.deg2rad(10 * turn), 1 + 0.2 * larger
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    centre = np.array([width / 2, height / 2])
    to = centre - turned @ (centre + [0.2 * right * width, 0.2 * down * height]) + [4 * width, 4 * height]
    wide = Image.fromarray(np.pad(picture, ((4 * height,) * 2, (4 * width,) * 2, (0, 0)), "symmetric"))
    coefficients = np.column_stack([turned, to]).ravel()
    return np.asarray(wide.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("tile", [7, 512])
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(10, 60), width=st.integers(10, 60))
def test_what_moves_in_is_the_picture_mirrored_however_it_is_cut_into_tiles(tile, seed, height, width):
    picture, drawn = pixels(seed, height, width), draws(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varied_copies, "TILE", tile)
        found = varied_copies.shift_scale_rotate(picture, drawn)
    assert np.abs(found.astype(int) - moved_inside_its_mirror_images(picture, drawn)).max() <= 1


def test_memory_is_taken_for_the_picture_and_not_for_what_surrounds_it():
    picture = pixels(0, 1500, 2000)
    for operation, _ in OPERATIONS:
        tracemalloc.start()
        try:
            operation(picture, draws(3))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2.5 * picture.nbytes, operation


def test_channels_are_shifted_by_at_most_50_and_clipped():
    picture = np.full((4, 4, 3), 230, np.uint8)
    out = varied_copies.shift_channels(picture, np.array([1.0, 0.5, 0.0, *[0.5] * 12]))
    assert out[0, 0].tolist() == [255, 230, 180]


def test_shuffled_channels_are_the_same_channels():
    picture = pixels(3, 5, 5)
    for seed in range(10):
        out = varied_copies.shuffle_channels(picture, draws(seed))
        assert sorted(out[..., c].tobytes() for c in range(3)) == sorted(picture[..., c].tobytes() for c in range(3))


def test_a_perspective_shows_the_corners_it_moved_inwards():
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    out = varied_copies.perspective(ramp, draws(7))
    assert out.min() > 0 or out.max() < 255, "the border is gone"
    assert (np.diff(out[32, :, 0].astype(int)) >= 0).all(), "left stays left"


def test_a_tone_curve_is_a_curve_of_values():
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    straight = varied_copies.tone_curve(ramp, MIDDLE)  # the inner points lie at 1/4 and 3/4
    assert straight[0, 0, 0] == 0 and straight[0, 255, 0] == 255
    assert (np.diff(straight[0, :, 0].astype(int)) >= 0).all()


def made_source(kind, size=30):
    """Two attributes; the last picture has rare values of both."""
    items = [Item(f"{i}.{kind}", encoded(pixels(i), kind), (0, 2)) for i in range(size)]
    items.append(Item(f"rare.{kind}", encoded(pixels(size), kind), (1, 3)))
    source = ListSource({"train": items, "test": items[-1:]}, classes=4, multi_label=True)
    source.attributes = {"neck": [0, 1], "sleeve": [2, 3]}
    return source


@pytest.mark.parametrize(("kind", "raw"), [("PNG", None), ("JPEG", None), ("PNG", True)])
def test_a_build_adds_copies_of_what_is_rare_to_train_alone(kind, raw, tmp_path):
    build(made_source(kind), tmp_path, balance_attributes=True, raw=raw, workers=1)
    with ShardSet(tmp_path / "train") as train, ShardSet(tmp_path / "test") as test:
        assert (len(train), len(test)) == (30 + 40, 1)
        assert train.counts.tolist() == [30, 40, 30, 40]
        assert train.ids(np.array([30, 31, 69])) == [f"rare.{kind}", f"rare.{kind}#1", f"rare.{kind}#39"]
        copies = [record.tobytes() for record in train.read(np.arange(30, 70))]
        assert len(set(copies)) > 30, "each is varied in its own way"
        if not raw:
            assert {Image.open(io.BytesIO(copy)).format for copy in copies} == {kind}


def test_any_number_of_workers_makes_the_same_copies(tmp_path):
    for workers in (1, 2):
        build(made_source("PNG"), tmp_path / str(workers), balance_attributes=True, workers=workers)
    names = [f"{split}/shard-00000.h5" for split in ("train", "test")]
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in names)


def test_a_source_without_attributes_is_refused(tmp_path):
    source = made_source("PNG")
    source.attributes = {}
    with pytest.raises(UserError, match="there are no attributes to balance"):
        build(source, tmp_path, balance_attributes=True, workers=1)


def test_a_set_that_holds_copies_is_not_cut_anew(tmp_path):
    build(made_source("PNG"), tmp_path / "balanced", balance_attributes=True, workers=1)
    with pytest.raises(UserError, match="holds varied copies; read the data set that it was made from"):
        open_source("shards", tmp_path / "balanced")
