"""Decoded pictures into a batch: resized as Pillow does it, then flipped, coloured, normalised, as float64 has it."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fastlt.ops.pictures import pictures_to_batch
from fastlt.ops.pictures_reference import shown

pytestmark = pytest.mark.usefixtures("instruction_set")
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
# What float32 sums and the rounding to the batch's type may change, of values up to 255.
BOUND = {torch.float32: 2e-3, torch.bfloat16: 0.51, torch.float16: 0.07}
NORMALISED = {"scale": (0.017, 0.018, 0.019), "shift": (-2.1, -2.0, -1.8)}


def picture(height, width, seed=0):
    """uint8 [height, width, 3] of noise, the hardest to resize."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(picture):
    return 0, 0, *picture.shape[:2]


def batch_of(pictures, height, width, windows=None, dtype=torch.float32, **steps):
    """float64 [B, height, width, 3] of numpy pictures; the batch is full of other numbers before."""
    windows = [whole(p) for p in pictures] if windows is None else windows
    batch = torch.full((len(pictures), height, width, 3), 77, dtype=dtype)
    tensors = [torch.from_numpy(np.ascontiguousarray(p)) for p in pictures]
    numbers = {
        name: torch.tensor(np.asarray(value), dtype=torch.float32 if name.startswith("color") else torch.int32)
        for name, value in steps.items()
        if name not in (*NORMALISED, "parallel")
    }
    given_on = {name: value for name, value in steps.items() if name not in numbers}
    pictures_to_batch(batch, tensors, torch.tensor(windows, dtype=torch.int32).view(-1, 4), **numbers, **given_on)
    return batch.double().numpy()


def pillow(picture, height, width):
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), np.float64)


SIDES = [
    (1, 1),
    (1, 7),
    (5, 6),
    (31, 33),
    (97, 225),
    (225, 300),
    (1000, 3),
    (3, 1000),
    (600, 800),
    (20000, 1),
    (1, 20000),
]


@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_a_resize_is_within_1_of_255_of_pillow_by_any_factor(sides):
    source = picture(*sides)
    for height, width in ((1, 1), (32, 32), (33, 17), (224, 224)):
        found = batch_of([source], height, width)[0]
        assert np.abs(found - pillow(source, height, width)).max() <= 1.01  # Pillow rounds twice


def test_twelve_megapixels_are_within_1_of_255_of_pillow():
    source = picture(3000, 4000)
    assert np.abs(batch_of([source], 224, 224)[0] - pillow(source, 224, 224)).max() <= 1.01


def test_gray_stays_gray_and_a_picture_of_the_right_size_stays_what_it_is():
    gray = picture(97, 131)[..., :1].repeat(3, axis=2)
    found = batch_of([gray], 50, 60)[0]
    np.testing.assert_array_equal(found, found[..., :1].repeat(3, axis=2))
    source = picture(45, 61)
    np.testing.assert_array_equal(batch_of([source], 45, 61)[0], source)
    np.testing.assert_array_equal(batch_of([source], 45, 61, dtype=torch.uint8)[0], source)


@st.composite
def cases(draw):
    """Pictures of any size with a window each, and any of the steps."""
    count, side = draw(st.integers(1, 3)), st.integers(1, 70)
    height, width = draw(side), draw(side)
    pictures = [picture(draw(side), draw(side), seed) for seed in range(count)]
    windows = []
    for source in pictures:
        high, wide = (draw(st.integers(1, size)) for size in source.shape[:2])
        windows.append(
            (draw(st.integers(0, source.shape[0] - high)), draw(st.integers(0, source.shape[1] - wide)), high, wide)
        )
    steps = {}
    if draw(st.booleans()):
        steps["offsets"] = [[draw(st.integers(-80, 80)), draw(st.integers(-80, 80))] for _ in pictures]
    for name in ("mirrored", "upside_down"):
        if draw(st.booleans()):
            steps[name] = [draw(st.integers(0, 1)) for _ in pictures]
    if draw(st.booleans()):
        corner = [(draw(st.integers(0, height)), draw(st.integers(0, width))) for _ in pictures]
        steps["erased"] = [(y, x, draw(st.integers(0, height - y)), draw(st.integers(0, width - x))) for y, x in corner]
    return pictures, windows, height, width, steps


def truth(pictures, windows, height, width, steps, **settings):
    names = {"offsets": "offset", "color_matrices": "matrix", "color_shifts": "color_shift"}
    rows = [{names.get(name, name): value[i] for name, value in steps.items()} for i in range(len(pictures))]
    each = zip(pictures, windows, rows, strict=True)
    return np.stack([shown(p, window, height, width, **row, **settings) for p, window, row in each])


every_case = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@every_case
@given(cases(), st.sampled_from(FLOATS))
def test_windows_flips_offsets_and_erasing_are_those_of_the_reference(case, dtype):
    found = batch_of(*case[:1], *case[2:4], case[1], dtype, **case[4], **NORMALISED)
    bound = BOUND[dtype] * 0.02
    np.testing.assert_allclose(found, truth(*case, **NORMALISED), rtol=0, atol=bound)


@every_case
@given(st.data(), st.sampled_from([*FLOATS, torch.uint8]))
def test_windows_of_the_size_of_the_batch_are_moved_and_mirrored_only(data, dtype):
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    pictures = [picture(height + 2, width + seed, seed) for seed in range(3)]
    windows = [(2, 0, height, width), (1, 1, height, width), (0, 2, height, width)]
    far = st.sampled_from([0, 1, -1, 3, -4, height, -width, 2**31 - 1, -(2**31)])
    steps = {"offsets": [[data.draw(far), data.draw(far)] for _ in pictures]}
    for name in ("mirrored", "upside_down"):
        steps[name] = [data.draw(st.integers(0, 1)) for _ in pictures]
    finish = {} if dtype == torch.uint8 else NORMALISED
    found = batch_of(pictures, height, width, windows, dtype, **steps, **finish)
    exact = truth(pictures, windows, height, width, steps, **finish)
    bound = {torch.float32: 1e-6, torch.uint8: 0}.get(dtype, BOUND[dtype] * 0.02 if dtype in BOUND else 0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@every_case
@given(cases())
def test_uint8_is_the_rounded_picture(case):
    found = batch_of(*case[:1], *case[2:4], case[1], torch.uint8, **case[4])
    exact = truth(*case)
    assert np.abs(found - exact).max() <= 0.5 + 2e-3


def test_colours_are_mapped_rounded_and_clipped_before_they_are_normalised():
    pictures = [picture(40, 50, seed) for seed in range(4)]
    draws = np.random.default_rng(1)
    matrices, shifts = draws.normal(0, 1, (4, 3, 3)).astype(np.float32), draws.normal(0, 60, (4, 3)).astype(np.float32)
    steps = {"color_matrices": matrices, "color_shifts": shifts, "offsets": [[9, -8]] * 4, "mirrored": [0, 1, 0, 1]}
    windows = [whole(p) for p in pictures]
    found = batch_of(pictures, 33, 35, windows, **steps, **NORMALISED)
    exact = truth(pictures, windows, 33, 35, steps, **NORMALISED)
    step = max(NORMALISED["scale"])  # of one level
    away = np.abs(found - exact)
    assert away.max() <= 1.01 * step  # a level where float32 rounds to the other side
    assert (away > 0.01 * step).mean() < 1e-3
    whole_numbers = batch_of(pictures, 33, 35, windows, torch.uint8, **steps)
    levels = truth(pictures, windows, 33, 35, steps)
    assert np.abs(whole_numbers - levels).max() <= 1


def test_what_lies_outside_of_a_moved_picture_is_black():
    found = batch_of([np.full((8, 8, 3), 200, np.uint8)], 8, 8, offsets=[[3, -2]], **NORMALISED)[0]
    black, light = np.array(NORMALISED["shift"]), 200 * np.array(NORMALISED["scale"]) + NORMALISED["shift"]
    np.testing.assert_allclose(found[:5, 2:], np.broadcast_to(light, (5, 6, 3)), atol=1e-5)
    np.testing.assert_allclose(found[5:], np.broadcast_to(black, (3, 8, 3)), atol=1e-6)
    np.testing.assert_allclose(found[:, :2], np.broadcast_to(black, (8, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("side", [208, 224, 225, 229])
def test_large_pictures_are_those_of_the_reference(side):
    """They are written past the caches, by whole vectors where they begin with one."""
    pictures = [picture(60 + seed, 90 - seed, seed) for seed in range(3)]
    windows, steps = [whole(p) for p in pictures], {"erased": [[5, 6, 70, 80]] * 3, "upside_down": [0, 1, 0]}
    found = batch_of(pictures, side, side, windows, **steps, **NORMALISED)
    exact = truth(pictures, windows, side, side, steps, **NORMALISED)
    np.testing.assert_allclose(found, exact, rtol=0, atol=BOUND[torch.float32] * 0.02)


def test_any_number_of_threads_gives_the_same_bits():
    pictures = [picture(30 + 7 * seed, 200 - 5 * seed, seed) for seed in range(20)]
    alone = batch_of(pictures, 64, 64, mirrored=[0, 1] * 10, **NORMALISED)
    for threads in (2, 5):
        torch.set_num_threads(threads)  # one_thread sets it back
        for parallel in (True, False):
            found = batch_of(pictures, 64, 64, mirrored=[0, 1] * 10, **NORMALISED, parallel=parallel)
            np.testing.assert_array_equal(alone, found)


def test_rows_may_lie_apart_and_channels_the_other_way_round():
    wide = torch.from_numpy(picture(40, 90))
    turned = torch.from_numpy(np.ascontiguousarray(picture(40, 30).transpose(2, 1, 0))).permute(2, 1, 0)
    windows = torch.tensor([[0, 0, 40, 30]] * 2, dtype=torch.int32)
    views, copies = torch.empty(2, 20, 20, 3), torch.empty(2, 20, 20, 3)
    pictures_to_batch(views, [wide[:, 5:35], turned], windows)
    pictures_to_batch(copies, [wide[:, 5:35].contiguous(), turned.contiguous()], windows)
    assert torch.equal(views, copies)


def test_pictures_in_one_tensor_are_those_of_a_list():
    together = torch.from_numpy(np.stack([picture(20, 24, seed) for seed in range(5)]))
    windows = torch.tensor([[k, 0, 12, 20] for k in range(5)], dtype=torch.int32)
    for source in (together, together[:, 2:, ::2], together.permute(0, 2, 1, 3), together[:1].expand(5, -1, -1, -1)):
        windows[:, 3] = source.shape[2] - 2
        one, each, some = (torch.empty(5, 12, 22, 3) for _ in range(3))
        pictures_to_batch(one, source, windows, **NORMALISED)
        pictures_to_batch(each, list(source), windows, **NORMALISED)
        pictures_to_batch(some, [source[0], source[1:4], source[4]], windows, **NORMALISED)
        assert torch.equal(one, each) and torch.equal(some, each)


def test_pictures_by_number_are_those_of_a_list():
    held = torch.from_numpy(np.stack([picture(20, 24, seed) for seed in range(5)]))
    numbers = torch.tensor([4, 0, 4, 2])
    windows = torch.tensor([[k, 0, 12, 20] for k in range(4)], dtype=torch.int32)
    chosen, listed = torch.empty(4, 12, 22, 3), torch.empty(4, 12, 22, 3)
    pictures_to_batch(chosen, held, windows, numbers=numbers, **NORMALISED)
    pictures_to_batch(listed, [held[number] for number in numbers], windows, **NORMALISED)
    assert torch.equal(chosen, listed)


def test_an_empty_batch_is_nothing_to_do():
    assert batch_of([], 8, 8).shape == (0, 8, 8, 3)


def wrong(**changes):
    """A call with something changed."""
    call = {
        "batch": torch.zeros(2, 8, 8, 3),
        "pictures": [torch.zeros(10, 12, 3, dtype=torch.uint8)] * 2,
        "windows": torch.tensor([[0, 0, 10, 12]] * 2, dtype=torch.int32),
    }
    pictures_to_batch(**(call | changes))


HELD = {"pictures": torch.zeros(3, 10, 12, 3, dtype=torch.uint8)}


def ints(*rows):
    return torch.tensor(rows, dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": torch.zeros(2, 3, 8, 8)}, "batch must be .B, height, width, 3., contiguous"),
        ({"batch": torch.zeros(2, 3, 8, 8).permute(0, 2, 3, 1)}, "contiguous"),
        ({"batch": torch.zeros(2, 8, 8, 3, dtype=torch.float64)}, "batch must be float32, bfloat16, float16 or uint8"),
        ({"batch": torch.zeros(2, 0, 8, 3)}, "must have a height and a width, not 0 x 8"),
        ({"pictures": []}, "there are 0 pictures for a batch of 2"),
        ({"numbers": torch.zeros(2, dtype=torch.int64)}, "with numbers, pictures must be one uint8"),
        (HELD | {"numbers": torch.zeros(2, dtype=torch.int32)}, "numbers must be int64 .B."),
        (HELD | {"numbers": torch.zeros(3, dtype=torch.int64)}, "numbers must be int64 .B."),
        (HELD | {"numbers": torch.tensor([0, 3])}, "number 3 is not one of the 3 pictures"),
        (HELD | {"numbers": torch.tensor([-1, 0])}, "number -1 is not one of the 3 pictures"),
        ({"pictures": torch.zeros(1, 10, 12, 3, dtype=torch.uint8)}, "there are 1 pictures for a batch of 2"),
        ({"pictures": torch.zeros(3, 10, 12, 3, dtype=torch.uint8)}, "more pictures than the 2 of the batch"),
        ({"pictures": [torch.zeros(1, 2, 10, 12, 3, dtype=torch.uint8)]}, "picture 0 must be uint8"),
        ({"pictures": [torch.zeros(10, 12, 3)] * 2}, "picture 0 must be uint8 .height, width, 3."),
        ({"pictures": [torch.zeros(10, 12, 1, dtype=torch.uint8)] * 2}, "picture 0 must be uint8"),
        ({"windows": torch.tensor([[0, 0, 10, 12]] * 2)}, "windows must be int32 .B, 4."),
        ({"windows": ints([0, 0, 10, 12])}, "windows must be int32 .B, 4."),
        (
            {"windows": ints([0, 0, 10, 12], [1, 0, 10, 12])},
            "window of picture 1 .top 1, left 0, .* picture of 10 x 12",
        ),
        ({"windows": ints([0, 0, 10, 12], [0, -1, 1, 1])}, "window of picture 1"),
        ({"windows": ints([0, 0, 0, 12], [0, 0, 1, 1])}, "window of picture 0"),
        ({"windows": ints([2**31 - 1, 0, 2**31 - 1, 1], [0, 0, 1, 1])}, "window of picture 0"),
        ({"pictures": [torch.zeros(0, 12, 3, dtype=torch.uint8)] * 2}, "window of picture 0"),
        ({"erased": ints([0, 0, 8, 8], [0, 1, 1, 8])}, "erased of picture 1 is not inside the batch of 8 x 8"),
        ({"mirrored": ints([0, 1])}, "mirrored must be int32 .B."),
        ({"offsets": torch.zeros(2, 2)}, "offsets must be int32"),
        ({"color_matrices": torch.zeros(2, 3, 3)}, "come together"),
        ({"scale": (1.0,)}, "scale must be three numbers, one for each channel, not 1"),
        ({"batch": torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "scale": (2.0, 1.0, 1.0)}, "uint8 is not normalised"),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(RuntimeError, match=message):
        wrong(**changes)
