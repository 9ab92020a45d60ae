"""What is stored of a picture decodes to what Pillow shows of the original, upright; what cannot be says why."""

import io
import os
import random
import socket
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image, ImageOps

from fastlt.data.decoders_agree import BATCH, LARGEST_DIFFERENCE, available
from fastlt.data.pictures import BadImage, Checks, Picture, Treatment, prepare, prepare_all

PLAIN = Treatment()
RULES = Checks(dali=False)
needs_dali = pytest.mark.skipif(not available(), reason="NVIDIA DALI is not installed")
EITHER_WAY = [pytest.param(Checks(dali=True), marks=needs_dali, id="by trying"), pytest.param(RULES, id="by rules")]
ORIENTED_6 = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def shown(data):
    """uint8 [H, W, 3]: a file as Pillow shows it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def made_png(width, height, depth, rows, *more):
    """An RGB PNG with `more` chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(values):
    return encoded(Image.fromarray(values.astype(np.uint16)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("colour", ["RGB", "L"])
@pytest.mark.parametrize("checks", [*EITHER_WAY, pytest.param(Checks(decode=False), id="by header")])
def test_plain_files_pass_through_byte_by_byte(kind, colour, checks):
    data = encoded(Image.fromarray(pixels(0)).convert(colour), kind)
    assert prepare(data, PLAIN, checks) == Picture(data, 12, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("checks", [*EITHER_WAY, pytest.param(Checks(decode=False), id="by header")])
def test_jpegs_keep_their_orientation_and_are_measured_upright(orientation, checks):
    data = encoded(pixels(0), "JPEG", exif=oriented(orientation))
    stored = prepare(data, PLAIN, checks)
    assert stored.data == data
    assert (stored.height, stored.width) == shown(data).shape[:2]


@pytest.mark.parametrize("checks", EITHER_WAY)
@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_rotated_files_are_measured_upright(kind, orientation, checks):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(pixels(0), kind, exif=oriented(orientation), **options)
    stored = prepare(data, PLAIN, checks)
    assert np.array_equal(shown(stored.data), shown(data))
    assert (stored.height, stored.width) == shown(data).shape[:2]
    if checks == RULES:
        assert 0x0112 not in Image.open(io.BytesIO(stored.data)).getexif()


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
    yield "1 bit TIFF", encoded(image.convert("1"), "TIFF")
    yield "LAB", encoded(image.convert("LAB"), "TIFF")
    yield "JPEG turned by XMP", encoded(image, "JPEG", xmp=ORIENTED_6)
    yield "WebP turned by XMP", encoded(image, "WEBP", lossless=True, xmp=ORIENTED_6)
    yield "without its last chunk", encoded(image)[:-12]


SPECIAL = [pytest.param(data, id=name) for name, data in special_files()]


@pytest.mark.parametrize("data", SPECIAL)
def test_by_rules_every_special_file_becomes_png(data):
    stored = prepare(data, PLAIN, RULES)
    decoded = Image.open(io.BytesIO(stored.data))
    assert decoded.format == "PNG" and decoded.mode in ("L", "RGB") and not decoded.info
    assert np.array_equal(np.asarray(decoded.convert("RGB")), shown(data))


@needs_dali
@pytest.mark.parametrize("data", SPECIAL)
def test_by_trying_a_special_file_passes_through_or_becomes_png(data):
    stored = prepare(data, PLAIN)
    left_out = prepare_all([data], PLAIN, Checks(transcode=False))
    assert (stored.data == data) == (left_out == [stored])
    assert np.array_equal(shown(stored.data), shown(data))
    assert (stored.height, stored.width) == shown(data).shape[:2]


@needs_dali
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GIF", "DALI does not decode it"),
        ("1 bit TIFF", "DALI does not decode it"),
        ("without its last chunk", "DALI does not decode it"),
        ("JPEG turned by XMP", "DALI decodes it to 16 x 12 pixels, Pillow to 12 x 16"),
        ("LAB", "DALI decodes it otherwise than Pillow, by up to"),
    ],
)
def test_what_dali_does_not_show_like_pillow_is_left_out_where_it_is_not_transcoded(name, reason, capfd):
    with pytest.raises(BadImage, match=reason):
        prepare(dict(special_files())[name], PLAIN, Checks(transcode=False))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", SPECIAL)
def test_by_rules_special_files_are_left_out_where_they_are_not_transcoded(data):
    with pytest.raises(BadImage, match="not every decoder reads this kind of .*, and DALI is not installed to try it"):
        prepare(data, PLAIN, Checks(transcode=False, dali=False))


@pytest.mark.parametrize("data", SPECIAL)
def test_header_checks_leave_special_files_to_decoding(data):
    assert prepare(data, PLAIN, Checks(decode=False)) == prepare(data, PLAIN)


def test_16_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 255, 256], [32768, 65279, 65535]])
    stored = prepare(png16(values), PLAIN, RULES)
    assert np.asarray(Image.open(io.BytesIO(stored.data))).tolist() == (values >> 8).tolist()


def test_16_bit_colour_is_scaled(rgb16):
    stored = prepare(rgb16, PLAIN, RULES)
    decoded = Image.open(io.BytesIO(stored.data))
    assert stored.data[24] == 8 and np.asarray(decoded).tolist() == [[[0x12, 0xFF, 0x80]]]


@needs_dali
def test_16_bit_files_pass_through_as_dali_only_rounds_otherwise(rgb16):
    assert LARGEST_DIFFERENCE >= 1
    for data in (rgb16, png16(np.arange(0, 65536, 64).reshape(32, 32))):
        assert prepare(data, PLAIN).data == data


@pytest.fixture
def rgb16():
    """A PNG of one pixel with 16 bits a channel, which Pillow does not write."""
    return made_png(1, 1, depth=16, rows=bytes([0, 0x12, 0x34, 0xFF, 0xFF, 0x80, 0x00]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no picture at all", "cannot identify"),
        (encoded(pixels(0), "JPEG")[:-40], "truncated"),
        (encoded(pixels(0))[:-60], "truncated|Truncated|broken"),
        (encoded(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"), "32 bits"),
        (encoded(Image.fromarray(pixels(0)), "EPS"), "cannot identify"),
    ],
)
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("transcode", [True, False])
def test_unreadable_files_say_why(data, reason, decode, transcode):
    with pytest.raises(BadImage, match=reason):
        prepare(data, PLAIN, Checks(decode, transcode))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("transcode", [True, False])
def test_header_checks_find_a_file_that_was_cut_off(kind, transcode):
    data = encoded(pixels(0, 40, 40), kind)
    end = 20 if kind == "PNG" else 0  # without its last chunk and checksums Pillow shows the whole of a PNG
    cut = [data[:length] for length in range(1, len(data) - end, 7)]
    by_header, by_decoding = (prepare_all(cut, PLAIN, Checks(decode, transcode)) for decode in (False, True))
    assert all(isinstance(reason, str) for reason in by_header) and by_header == by_decoding


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("checks", [Checks(decode=False), *EITHER_WAY])
def test_bytes_after_the_end_are_no_fault(kind, checks):
    data = encoded(pixels(0), kind) + bytes(10)
    assert np.array_equal(shown(prepare(data, PLAIN, checks).data), shown(data))


def test_header_checks_do_not_decode_a_plain_file():
    data = bytearray(encoded(pixels(0)))
    data[60] ^= 0xFF  # within its compressed pixels
    assert prepare(bytes(data), PLAIN, Checks(decode=False)) == Picture(bytes(data), 12, 16)
    with pytest.raises(BadImage):
        prepare(bytes(data), PLAIN, Checks(decode=True))


@pytest.mark.parametrize("late", [False, True])
def test_header_checks_see_what_turns_a_png_wherever_it_stands(late):
    exif = chunk(b"eXIf", oriented(6).tobytes()[6:])
    data = made_png(16, 12, 8, b"".join(b"\0" + row.tobytes() for row in pixels(0)), *([] if late else [exif]))
    data = data[:-12] + exif + data[-12:] if late else data
    stored = prepare(data, PLAIN, Checks(decode=False))
    assert (stored.height, stored.width) == shown(data).shape[:2] == (16, 12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # when Pillow opens it here
@pytest.mark.parametrize("checks", [Checks(decode=False), *EITHER_WAY])
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_damaged_metadata_do_not_make_a_picture_unreadable(checks, exif):
    data = encoded(pixels(0), "JPEG", exif=exif)
    stored = prepare(data, PLAIN, checks)
    assert (stored.height, stored.width) == (12, 16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored.data))), np.asarray(Image.open(io.BytesIO(data))))


def exif_segments(*orientations, endian=">", kind="H"):
    """The start of a JPEG, with a segment for each orientation."""
    code = {"H": 3, "I": 4}[kind]
    for orientation in orientations:
        value = struct.pack(endian + kind, orientation).ljust(4, b"\0")
        entry = struct.pack(endian + "HHHI", 1, 0x0112, code, 1) + value
        body = b"Exif\0\0" + (b"II" if endian == "<" else b"MM") + struct.pack(endian + "HI", 42, 8) + entry + bytes(4)
        yield b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("orientations", [(6,), (6, 1), (1, 6), (0,), (9,)])
def test_header_checks_take_nothing_for_granted_of_odd_orientations(orientations, endian, kind):
    data = encoded(pixels(0), "JPEG")
    data = data[:2] + b"".join(exif_segments(*orientations, endian=endian, kind=kind)) + data[2:]
    by_header, by_decoding = (prepare(data, PLAIN, Checks(decode)) for decode in (False, True))
    assert by_header == by_decoding
    assert (by_header.height, by_header.width) == shown(data).shape[:2]


class TestFilesThatAreNone:
    def test_missing(self, tmp_path):
        with pytest.raises(BadImage, match="No such file"):
            prepare(tmp_path / "gone.jpg", PLAIN)

    def test_empty(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(BadImage, match="the file is empty"):
            prepare(tmp_path / "a.jpg", PLAIN)

    def test_a_directory(self, tmp_path):
        with pytest.raises(BadImage, match="it is a directory, not a file"):
            prepare(tmp_path, PLAIN)

    def test_a_named_pipe_that_nobody_writes_to(self, tmp_path):
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(BadImage, match="it is a named pipe, not a file"):
            prepare(tmp_path / "a.jpg", PLAIN)

    def test_a_socket_and_a_device(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("a.jpg")
            with pytest.raises(BadImage, match="it is a socket, not a file"):
                prepare(Path("a.jpg"), PLAIN)
        with pytest.raises(BadImage, match="it is a device, not a file"):
            prepare(Path("/dev/zero"), PLAIN)

    def test_too_long(self, tmp_path):
        with open(tmp_path / "a.jpg", "wb") as file:
            file.truncate(2**31 + 1)  # takes no room on the disk
        with pytest.raises(BadImage, match="the file has more than 2,147,483,648 bytes"):
            prepare(tmp_path / "a.jpg", PLAIN)

    def test_without_permission(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(encoded(pixels(0)))
        (tmp_path / "a.jpg").chmod(0)
        if os.access(tmp_path / "a.jpg", os.R_OK):
            pytest.skip("nothing is forbidden to this user")
        with pytest.raises(BadImage, match="Permission denied"):
            prepare(tmp_path / "a.jpg", PLAIN)


def bombs(width=60_000, height=60_000):
    """Small files that declare many pixels."""
    yield "PNG", made_png(width, height, 8, bytes(10))
    bmp_header = struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "BMP", b"BM" + bmp_header + bytes(46)
    gif_frame = bytes(3) + b"," + struct.pack("<HHHH", 0, 0, width, height) + bytes(9)
    yield "GIF", b"GIF89a" + struct.pack("<HH", width, height) + gif_frame
    yield "GIF frame", b"GIF89a" + struct.pack("<HH", 1, 1) + gif_frame
    yield "TIFF", made_tiff(width, height)
    yield "JPEG", made_jpeg(width, height)
    frame = encoded(pixels(0), "WEBP")[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + frame
    yield "WebP", b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    yield "PPM", b"P6 %d %d 255 " % (width, height)


def made_tiff(width, height):
    """8-bit grey, without the pixels."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 9}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)


def made_jpeg(width, height):
    """With the pixels of a small picture."""
    data = bytearray(encoded(pixels(0), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in bombs()])
def test_a_picture_bomb_is_refused_by_its_header(data, decode):
    with pytest.raises(BadImage, match=r"its header declares .* pixels"):
        prepare(data, PLAIN, Checks(decode))


def test_no_memory_is_taken_for_a_picture_bomb():
    code = f"""
        import resource, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2])]!r}
        from test_pictures import PLAIN, RULES, bombs, prepare_all
        prepare_all([data for _, data in bombs(1, 1)], PLAIN, RULES)  # whatever is loaded at first use
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 2**25, taken + 2**25))
        for reason in prepare_all([data for _, data in bombs()], PLAIN, RULES):
            assert "its header declares" in reason, reason
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_what_becomes_of_a_picture_does_not_depend_on_its_neighbours():
    plain = [encoded(pixels(i), kind) for i in range(8) for kind in ("JPEG", "PNG", "WEBP")]
    images = [*plain, *(data for _, data in special_files()), b"broken", pixels(0)] * 2
    assert len(images) > 2 * BATCH
    random.Random(1).shuffle(images)
    for checks in (Checks(), Checks(transcode=False), Checks(decode=False), RULES):
        alone = [prepare_all([image], PLAIN, checks)[0] for image in images]
        assert prepare_all(images, PLAIN, checks) == alone


@needs_dali
def test_large_pictures_wait_for_dali_one_by_one(monkeypatch):
    from fastlt.data import decoders_agree, pictures

    sizes = []
    tried = decoders_agree.disagreements
    monkeypatch.setattr(pictures, "TRIED_PIXELS", 500)
    monkeypatch.setattr(
        decoders_agree, "disagreements", lambda files, shown: sizes.append(len(files)) or tried(files, shown)
    )
    images = [encoded(pixels(i, 12, width), "BMP") for i, width in enumerate((16, 16, 16, 80, 16))]
    assert [stored.data for stored in prepare_all(images, PLAIN)] == images
    assert sizes == [2, 1, 1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_bytes_a_picture_is_stored_or_a_reason_is_given(seed, capfd):
    chance = random.Random(seed)
    originals = [data for _, data in special_files()] + [encoded(pixels(0), kind) for kind in ("JPEG", "PNG", "WEBP")]
    damaged = [mutated(chance.choice(originals), chance) for _ in range(12)]
    for checks in (Checks(), Checks(decode=False)):
        for stored in prepare_all(damaged, PLAIN, checks):
            if isinstance(stored, str):
                assert stored.strip() and "\n" not in stored
            elif checks.decode:
                assert shown(stored.data).shape[:2] == (stored.height, stored.width)
    assert capfd.readouterr() == ("", "")


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(data))
        data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
    return bytes(data[: chance.randrange(1, len(data) + 1)] if chance.random() < 0.2 else data)


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
