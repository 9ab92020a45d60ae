"""What is stored of a picture decodes to what Pillow shows of the original, upright."""

import io

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image, ImageOps

from fastlt.data.pictures import BadImage, Treatment, prepare

PLAIN = Treatment()


def shown(data):
    """uint8 [H, W, 3]: a file as Pillow shows it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png16(values):
    return encoded(Image.fromarray(values.astype(np.uint16)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("colour", ["RGB", "L"])
def test_plain_files_pass_through_byte_by_byte(kind, colour):
    data = encoded(Image.fromarray(pixels(0)).convert(colour), kind)
    stored = prepare(data, PLAIN)
    assert (stored.data, stored.height, stored.width) == (data, 12, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_keep_their_orientation_and_are_measured_upright(orientation):
    data = encoded(pixels(0), "JPEG", exif=oriented(orientation))
    stored = prepare(data, PLAIN)
    assert stored.data == data
    assert (stored.height, stored.width) == shown(data).shape[:2]


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_rotated_files_become_upright(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(pixels(0), kind, exif=oriented(orientation), **options)
    stored = prepare(data, PLAIN)
    decoded = Image.open(io.BytesIO(stored.data))
    assert decoded.format == "PNG" and 0x0112 not in decoded.getexif()
    assert np.array_equal(np.asarray(decoded), shown(data))
    assert (stored.height, stored.width) == decoded.size[::-1]


def special_files():
    image = Image.fromarray(pixels(0))
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(pixels(1)[..., 0]))
    yield "CMYK", encoded(image.convert("CMYK"), "JPEG")
    yield "palette", encoded(image.quantize(16))
    yield "transparent palette", encoded(image.quantize(16), transparency=3)
    yield "transparent colour", encoded(image, transparency=(1, 2, 3))
    yield "alpha", encoded(alpha)
    yield "grey with alpha", encoded(alpha.convert("LA"))
    yield "1 bit", encoded(image.convert("1"))
    yield "GIF", encoded(image, "GIF")
    yield "BMP", encoded(image, "BMP")
    yield "TIFF", encoded(image, "TIFF")
    yield "RGB stored as such", encoded(image, "JPEG", keep_rgb=True)
    yield "animated", encoded(image, "WEBP", save_all=True, append_images=[Image.fromarray(pixels(2))], lossless=True)
    yield "lossless WebP with EXIF", encoded(image, "WEBP", lossless=True, exif=oriented(1))


@pytest.mark.parametrize(("name", "data"), [pytest.param(*case, id=case[0]) for case in special_files()])
def test_files_that_decoders_disagree_on_become_png(name, data):
    stored = prepare(data, PLAIN)
    decoded = Image.open(io.BytesIO(stored.data))
    assert decoded.format == "PNG" and decoded.mode in ("L", "RGB")
    assert np.array_equal(np.asarray(decoded.convert("RGB")), shown(data))


def test_16_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 255, 256], [32768, 65279, 65535]])
    stored = prepare(png16(values), PLAIN)
    assert np.asarray(Image.open(io.BytesIO(stored.data))).tolist() == (values >> 8).tolist()


def test_16_bit_colour_is_scaled(rgb16):
    stored = prepare(rgb16, PLAIN)
    decoded = Image.open(io.BytesIO(stored.data))
    assert stored.data[24] == 8 and np.asarray(decoded).tolist() == [[[0x12, 0xFF, 0x80]]]


@pytest.fixture
def rgb16():
    """A PNG of one pixel with 16 bits a channel, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    row = zlib.compress(bytes([0, 0x12, 0x34, 0xFF, 0xFF, 0x80, 0x00]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot identify"),
        (b"no picture at all", "cannot identify"),
        (encoded(pixels(0), "JPEG")[:-40], "truncated"),
        (encoded(pixels(0))[:-60], "truncated|Truncated|broken"),
        (encoded(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"), "32 bits"),
    ],
)
def test_unreadable_files_say_why(data, reason):
    with pytest.raises(BadImage, match=reason):
        prepare(data, PLAIN)


def test_a_missing_file_says_why(tmp_path):
    with pytest.raises(BadImage, match="No such file"):
        prepare(tmp_path / "gone.jpg", PLAIN)


def test_long_pictures_are_scaled_down_and_others_left_alone():
    large, small = encoded(pixels(0, 40, 80), "JPEG"), encoded(pixels(0, 20, 10), "JPEG")
    stored = prepare(large, Treatment(max_side=40))
    assert (stored.height, stored.width) == (20, 40) and Image.open(io.BytesIO(stored.data)).format == "JPEG"
    assert prepare(small, Treatment(max_side=40)).data == small


def test_a_rotated_picture_that_is_scaled_down_is_stored_upright():
    data = encoded(pixels(0, 40, 80), "JPEG", exif=oriented(6))
    stored = prepare(data, Treatment(max_side=40))
    decoded = Image.open(io.BytesIO(stored.data))
    assert (stored.height, stored.width) == (40, 20) == decoded.size[::-1]
    assert not decoded.getexif()


def test_quality_re_encodes_every_picture():
    sizes = [len(prepare(encoded(pixels(0, 64, 64)), Treatment(quality=q)).data) for q in (20, 95)]
    assert sizes[0] < sizes[1]


def test_raw_stores_the_pixels():
    for image in (pixels(0), encoded(pixels(0))):
        stored = prepare(image, Treatment(raw=True))
        assert np.array_equal(np.frombuffer(stored.data, np.uint8).reshape(stored.height, stored.width, 3), pixels(0))
