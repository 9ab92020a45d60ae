"""A header read without Pillow says what Pillow would have said of it, or nothing."""

import struct
import warnings
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_sources import encoded, pixels
from PIL import Image
from test_pictures import ORIENTED_6, chunk, exif_segments, made_jpeg, made_png, oriented, special_files

from fastlt.data.picture_headers import SIDEWAYS, is_whole, known_to_agree, open_header, orientation_of
from fastlt.data.plain_headers import plain_header

ICC = b"ICC_PROFILE\0\1\1" + bytes(40)


def by_pillow(data):
    """Height, width and mode, upright, of a file of which Pillow's reading of the header leaves no doubt."""
    with open_header(data) as opened:
        if not (known_to_agree(opened, data) and is_whole(opened, data)):
            return None
        return (*(opened.size if orientation_of(opened) in SIDEWAYS else opened.size[::-1]), opened.mode)


def by_header(data):
    header = plain_header(data)
    return (*header.upright_size, header.mode)


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpegs():
    image = Image.fromarray(pixels(0, 24, 40))
    yield "baseline", encoded(image, "JPEG")
    yield "progressive", encoded(image, "JPEG", progressive=True)
    yield "optimized", encoded(image, "JPEG", optimize=True, subsampling=0)
    yield "grey", encoded(image.convert("L"), "JPEG")
    yield "restarts", encoded(image, "JPEG", restart_marker_blocks=2)
    yield "comment and profile", encoded(image, "JPEG", comment=b"a comment", icc_profile=bytes(200))
    yield "resolution", encoded(image, "JPEG", dpi=(72, 72))
    yield "photograph", with_segments(encoded(image, "JPEG"), segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\0"))
    yield "Adobe", with_segments(encoded(image, "JPEG"), segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"))
    for orientation in range(1, 9):
        yield f"turned {orientation}", encoded(image, "JPEG", exif=oriented(orientation))


def pngs():
    for colour in ("RGB", "L"):
        yield f"PNG {colour}", encoded(Image.fromarray(pixels(0, 24, 40)).convert(colour))
    yield "PNG of a camera", made_png(2, 1, 8, bytes(7), chunk(b"gAMA", bytes(4)), chunk(b"pHYs", bytes(9)))


def with_segments(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif(order, entries, start=8):
    """`entries`: (tag, type, count, value or place of the values)."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    table = struct.pack(order + "H", len(entries)) + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return segment(0xE1, b"Exif\0\0" + head + struct.pack(order + "I", start) + table + bytes(8))


def without_adobe(jpeg):
    place = jpeg.index(b"\xff\xee")
    return jpeg[:place] + jpeg[place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big") :]


PLAIN = [*jpegs(), *pngs()]
FAR_AWAY = exif("<", [(0x010F, 2, 9, 1000), (0x0112, 3, 1, 6)])  # Pillow reads no further


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in PLAIN])
def test_plain_files_need_no_pillow(data):
    assert by_pillow(data) == by_header(data)


@pytest.mark.parametrize(("orientation", "size"), [(1, (24, 40)), (3, (24, 40)), (6, (40, 24)), (8, (40, 24))])
def test_the_size_is_that_of_the_upright_picture(orientation, size):
    assert plain_header(encoded(pixels(0, 24, 40), "JPEG", exif=oriented(orientation))).upright_size == size


@pytest.mark.parametrize(
    "data",
    [pytest.param(data, id=name) for name, data in special_files() if name != "grey"]
    + [
        pytest.param(b"", id="empty"),
        pytest.param(encoded(pixels(0), "JPEG")[:-2], id="cut off"),
        pytest.param(encoded(pixels(0))[:-12], id="PNG cut off"),
        pytest.param(encoded(pixels(0), "JPEG") + b"\0", id="with more behind it"),
        pytest.param(made_jpeg(60_000, 60_000), id="bomb"),
        pytest.param(made_jpeg(0, 10), id="no width"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), segment(0xE2, b"MPF\0" + bytes(20))), id="several"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), segment(0xED, b"8BIM\4\4")), id="Photoshop cut off"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), segment(0xE2, ICC[:13])), id="profile cut off"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), *exif_segments(6, 1)), id="two orientations"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), FAR_AWAY), id="text beyond the EXIF data"),
        pytest.param(with_segments(encoded(pixels(0), "JPEG"), segment(0xE0, b"JFIF\0\1")), id="JFIF cut off"),
        pytest.param(without_adobe(encoded(Image.fromarray(pixels(0)).convert("CMYK"), "JPEG")), id="CMYK"),
        pytest.param(made_png(1, 1, 8, bytes(4))[:29] + bytes(4) + made_png(1, 1, 8, bytes(4))[33:], id="wrong sum"),
    ],
)
def test_the_rest_is_left_to_pillow(data):
    assert plain_header(data) is None


odd_exif = st.builds(
    exif,
    st.sampled_from("<>"),
    st.lists(
        st.tuples(
            st.sampled_from([0x0112, 0x0112, 0x010F, 0x011A, 0x8769]),
            st.integers(0, 14),
            st.sampled_from([0, 1, 1, 2, 5, 1 << 30]),
            st.one_of(st.sampled_from([1, 6, 8, 6 << 16, 1 << 16, 26]), st.integers(0, 2**32 - 1)),
        ),
        max_size=3,
    ),
    st.sampled_from([8, 8, 8, 9, 0, 200]),
)
bodies = st.sampled_from(
    [
        *(b"", b"Exif", b"Exif\0\0", b"Exif\0\1II", b"JFIF\0\1", b"MPF\0" + bytes(9), ICC, ICC[:12]),
        *(b"Adobe", b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"),
        *(b"http://ns.adobe.com/xap/1.0/\0" + ORIENTED_6, b"http://ns.adobe.com/xap/1.0/\0"),
        *(b"Photoshop 3.0\x008BIM\4\4", b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\2ab"),
        *(bytes(65), bytes(64), b"\x10" + bytes(128)),
    ]
)
segments = st.one_of(odd_exif, st.builds(segment, st.integers(0xC0, 0xFE), bodies), st.just(b"\xff"), st.just(b"x"))
jpeg_files = st.builds(
    lambda data, added: with_segments(data, *added),
    st.sampled_from([data for _, data in jpegs()]),
    st.lists(segments, max_size=3),
)
chunks = st.builds(
    lambda kind, body, spoilt: chunk(kind, body)[: -4 if spoilt else None] + bytes(4 * spoilt),
    st.sampled_from([b"gAMA", b"tEXt", b"eXIf", b"tRNS", b"PLTE", b"sRGB", b"IHDR", b"IDAT", b"acTL", b"teST"]),
    st.sampled_from(
        [b"", bytes(1), bytes(4), bytes(6), bytes(13), b"Raw profile type exif\0", zlib.compress(bytes(7))]
    ),
    st.booleans(),
)
png_files = st.builds(lambda added: made_png(2, 1, 8, bytes(7), *added), st.lists(chunks, max_size=3))
changes = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=3)


@settings(max_examples=600, deadline=None)
@given(st.one_of(jpeg_files, png_files), changes)
@example(made_png(2, 1, 8, bytes(7), chunk(b"IHDR", bytes(13))), [])
def test_whatever_the_header_says_pillow_says_the_same(data, changes):
    data = bytearray(data)
    for place, value in changes:
        data[place % len(data)] = value
    data = bytes(data)
    if plain_header(data) is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert by_pillow(data) == by_header(data)
