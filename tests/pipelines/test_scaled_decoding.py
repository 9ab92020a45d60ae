"""Large JPEGs decoded at a half, a quarter or an eighth: which, how near to all pixels, and that the rest stays."""

import io

import numpy as np
import pytest
import torch
from dali_graphs import encoded, photo, photos, pixels
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from fastlt import dali, one_pass, scaled_decoding
from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig
from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.loader import Loader, Placement
from fastlt.prefetch import Fed

SIZE, LARGE = 32, (720, 1080)
WHOLE = PipelineConfig(name="squash", size=SIZE, horizontal_flip=0)
SCALED = WHOLE.model_copy(update={"scaled_decoding": True})
KINDS = {"4:4:4": {"subsampling": 0}, "4:2:0": {"subsampling": 2}, "progressive": {"progressive": True}, "gray": {}}
LARGE_PLAIN = encoded(photo(*LARGE), quality=90)


def shown(config, records, windows):
    """float64 [B, size, size, 3] in 0..255; windows: top, left, height and width of each."""
    windows = np.array(windows, np.int32)
    drawn = {"window_start": windows[:, :2].copy(), "window_shape": windows[:, 2:].copy()}
    graph = one_pass.OnePass(config, len(records), "encoded", 2, 2, lambda _: Fed(records, drawn))
    try:
        return pixels(config, graph.run(0).numpy())
    finally:
        graph.close()


def by_pillow(record, window, size=SIZE):
    """All pixels of the window, resized with antialiasing."""
    top, left, height, width = window
    image = Image.open(io.BytesIO(record)).convert("RGB")
    cut = image.crop((left, top, left + width, top + height))
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)).astype(float)


@given(st.integers(1, LARGE[0]), st.integers(1, LARGE[1]), st.integers(1, 400))
@example(*LARGE, 45)
def test_most_of_a_picture_has_the_largest_divisor_that_leaves_twice_the_size(height, width, size):
    found = scaled_decoding.divisors([LARGE_PLAIN], np.array([[height, width]]), size)
    most = height * width >= 0.4 * LARGE[0] * LARGE[1]
    possible = [divisor for divisor in (2, 4, 8) if most and min(height, width) / size / divisor >= 2]
    assert found == ({0: max(possible)} if possible else {})


@given(st.integers(0, 999), st.integers(16, 1000), st.sampled_from([2, 4, 8]))
def test_a_window_stays_inside_and_moves_by_half_a_pixel_at_most(start, side, divisor):
    top, left, height, width = scaled_decoding.window(np.array([start, 0]), np.array([side, side]), divisor)
    assert top + height <= -(-(start + side) // divisor)
    assert left == 0 < width
    assert abs(top - start / divisor) <= 0.5 >= abs(top + height - (start + side) / divisor)


@pytest.mark.usefixtures("operator")
class TestPictures:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("side", [144, 200, 264, 400])
    def test_photographs_differ_by_a_level_in_the_mean(self, kind, which, side):
        image = Image.fromarray(photos()[which]).crop((0, 0, side + 30, side + 20))
        record = encoded(image.convert("L" if kind == "gray" else "RGB"), quality=90, **KINDS[kind])
        window = (8, 16, side, side)  # whole pixels of every scale
        for size in (32, 24):
            config = SCALED.model_copy(update={"size": size})
            difference = np.abs(shown(config, [record], [window])[0] - by_pillow(record, window, size))
            assert difference.mean() <= 1
            assert np.percentile(difference, 99) <= 5  # half a level is Pillow's own rounding

    def test_detail_that_must_be_left_out_makes_a_difference_of_some_levels(self):
        noise = np.random.default_rng(0).normal(0, 12, (*LARGE, 1))
        record = encoded(np.clip(photo(*LARGE) + noise, 0, 255).astype(np.uint8), quality=90)
        window = (0, 0, 712, 712)
        difference = np.abs(shown(SCALED, [record], [window])[0] - by_pillow(record, window))
        assert 2 < difference.max() <= 8
        assert difference.mean() <= 2

    def test_other_pictures_and_smaller_windows_are_what_they_are_without(self):
        rotated = Image.Exif()
        rotated[0x0112] = 6
        plain = photo(*LARGE)
        records = [
            encoded(plain, "PNG"),
            encoded(plain, "WEBP", quality=80),
            encoded(plain, quality=90, exif=rotated),
            encoded(Image.fromarray(plain).convert("CMYK"), quality=90),
            LARGE_PLAIN,
            LARGE_PLAIN,
        ]
        windows = [(0, 0, 700, 700)] * 4 + [(5, 7, 300, 1000), (0, 0, 704, 704)]
        without, scaled = (shown(config, records, windows) for config in (WHOLE, SCALED))
        assert np.array_equal(scaled[:5], without[:5])
        assert not np.array_equal(scaled[5], without[5])

    def test_a_flip_follows_as_usual(self):
        config = SCALED.model_copy(update={"size": 64})
        flipped = config.model_copy(update={"horizontal_flip": 1})
        drawn = {"window_start": np.zeros((1, 2), np.int32), "window_shape": np.full((1, 2), 704, np.int32)}
        mirrored = Fed([LARGE_PLAIN], drawn | {"mirror": np.ones(1, np.int32)})
        graph = one_pass.OnePass(flipped, 1, "encoded", 1, 1, lambda _: mirrored)
        expected = shown(config, [LARGE_PLAIN], [(0, 0, 704, 704)])[:, :, ::-1]
        assert np.allclose(pixels(flipped, graph.run(0).numpy()), expected, atol=1e-3)
        graph.close()


@pytest.mark.usefixtures("operator")
class TestLoader:
    BATCH = 8

    @pytest.fixture(scope="class")
    def records(self, tmp_path_factory):
        """24 large photographs of two classes."""
        root = tmp_path_factory.mktemp("large")
        for number in range(24):
            path = root / "photos" / f"class-{number % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(photo(480 + 16 * number, 720, number % 2), quality=80).tobytes())
        build(open_source("folder", root / "photos"), root / "built", val=0.0, workers=1)
        with ShardSet(root / "built" / "train") as records:
            yield records

    def loader(self, records, rank=0, ranks=1, scaled=True, **options):
        pipeline = PipelineConfig(name="squash", size=SIZE, scaled_decoding=scaled)
        data = DataConfig(path=".", threads=2, max_bad_images=10, **options)
        return Loader(records, {"main": StreamSpec()}, pipeline, self.BATCH, 0, data, Placement(rank, ranks))

    def test_ranks_resuming_and_prefetch_change_nothing(self, records):
        with self.loader(records) as whole, self.loader(records, scaled=False) as plain:
            images = [next(whole).images["main"] for _ in range(4)]
            for smaller in images:
                assert not (smaller == next(plain).images["main"]).flatten(1).all(dim=1).any()
            whole.seek(2, set())
            assert torch.equal(next(whole).images["main"], images[2])
        with self.loader(records, 0, 2) as first, self.loader(records, 1, 2, prefetch=3) as second:
            for expected in images:
                assert torch.equal(torch.cat([next(part).images["main"] for part in (first, second)]), expected)

    def shown_with(self, records, monkeypatch, damage, **options):
        """The first three batches where picture 3 is damaged, and the pictures that were found bad."""
        read = records.read

        def damaged(indices):
            pictures = list(read(indices))
            return [damage(p) if index == 3 else p for index, p in zip(indices, pictures, strict=True)]

        with monkeypatch.context() as patch, self.loader(records, **options) as loader:
            patch.setattr(records, "read", damaged)
            return [next(loader) for _ in range(3)], loader.bad_images

    def test_a_picture_that_nobody_decodes_is_replaced(self, records, monkeypatch):
        batches, bad = self.shown_with(records, monkeypatch, without_quantization)
        assert bad == {3}
        assert 3 not in np.concatenate([batch.index["main"] for batch in batches])

    def test_what_pillow_alone_refuses_is_decoded_by_dali(self, records, monkeypatch):
        batches, bad = self.shown_with(records, monkeypatch, with_a_stray_marker)
        in_full, _ = self.shown_with(records, monkeypatch, with_a_stray_marker, scaled=False)
        assert bad == set()
        compared = zip(batches, in_full, strict=True)
        here = [(one, other, np.flatnonzero(one.index["main"] == 3)) for one, other in compared]
        assert sum(len(rows) for *_, rows in here) == 1
        for one, other, rows in here:
            assert torch.equal(one.images["main"][rows], other.images["main"][rows])

    def test_what_dali_alone_refuses_is_shown_where_it_is_decoded_smaller(self, records, monkeypatch):
        picture = records.read(np.array([0]))[0]
        whole = np.array(records.shapes(np.array([0])))
        with self.loader(records) as loader:
            pipeline = loader.bundles[0].pipeline
            given = [without_quantization(picture), picture, picture]
            shapes = whole.repeat(3, axis=0)
            shapes[2] = SIZE
            monkeypatch.setattr(dali, "undecoded", lambda pictures, *_: [*range(len(pictures))])
            assert loader._undecoded(pipeline, given, np.zeros_like(shapes), shapes) == [0, 2]


def with_a_stray_marker(picture):
    """A second start of the picture near its end: DALI goes on behind it, Pillow gives up."""
    damaged = picture.copy()
    at = len(damaged) * 9 // 10
    damaged[at : at + 2] = 0xFF, 0xD8
    return damaged


def without_quantization(picture):
    """A JPEG whose header is in order and whose pixels nobody can read."""
    data = picture.tobytes()
    while (start := data.find(b"\xff\xdb")) >= 0:
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    return np.frombuffer(data, np.uint8)
