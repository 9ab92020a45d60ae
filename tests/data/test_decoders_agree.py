"""DALI shows every stored picture as Pillow shows the original: the promise that lets files pass through untouched."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image, ImageOps

from fastlt.data.decoders_agree import BATCH, LARGEST_DIFFERENCE, disagreements
from fastlt.data.decoding_child import dali_decoder
from fastlt.data.pictures import Candidate, Checks, Treatment, prepare, prepare_all

pytest.importorskip("nvidia.dali")


def files():
    image = Image.fromarray(pixels(0, 48, 64)).resize((64, 48)).reduce(2).resize((90, 70))
    for kind in ("JPEG", "PNG", "WEBP"):
        for colour in ("RGB", "L"):
            yield f"{kind} {colour}", encoded(image.convert(colour), kind)
    yield "progressive", encoded(image, "JPEG", progressive=True)
    yield "444", encoded(image, "JPEG", subsampling=0)
    yield "lossless WebP", encoded(image, "WEBP", lossless=True)
    yield "RGB stored as such", encoded(image, "JPEG", keep_rgb=True)
    yield "CMYK", encoded(image.convert("CMYK"), "JPEG")
    yield "palette", encoded(image.quantize(16))
    yield "GIF", encoded(image, "GIF")
    yield "BMP", encoded(image, "BMP")
    yield "TIFF", encoded(image, "TIFF", compression="tiff_lzw")
    yield "JPEG 2000", encoded(image, "JPEG2000")
    yield "alpha", encoded(image.convert("RGBA"))
    yield "16 bit grey", encoded(Image.fromarray(np.arange(0, 65536, 16).astype(np.uint16).reshape(64, 64)))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "WEBP"):
            yield f"{kind} turned {orientation}", encoded(image, kind, exif=exif)


def shown(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def dali(pictures):
    return dali_decoder()([np.frombuffer(picture.data, np.uint8) for picture in pictures])


@pytest.mark.parametrize(
    "checks", [Checks(), Checks(decode=False), Checks(dali=False)], ids=["trying", "header", "rules"]
)
def test_dali_shows_what_pillow_shows(checks):
    names, originals = zip(*files(), strict=True)
    stored = prepare_all(list(originals), Treatment(), checks)
    decoded = [image for start in range(0, len(stored), BATCH) for image in dali(stored[start : start + BATCH])]
    for i, name in enumerate(names):
        seen, wanted = decoded[i], shown(originals[i])
        assert seen.shape[:2] == (stored[i].height, stored[i].width), name
        allowed = 1 if name == "16 bit grey" else 0  # DALI rounds
        assert np.abs(seen.astype(int) - wanted).max() <= allowed <= LARGEST_DIFFERENCE, name


@pytest.mark.parametrize("decode", [True, False], ids=["decoding", "by header"])
def test_a_jpeg_whose_orientation_is_read_in_two_ways_is_not_taken_for_plain(decode):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(pixels(0, 40, 64), "JPEG", exif=exif)
    count = data.index(b"MM\0*") + 8
    damaged = data[:count] + b"\0\x09" + data[count + 2 :]  # more entries than there are: Pillow finds one, DALI none
    (as_it_was,) = dali([Candidate(damaged, None)])
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        assert shown(damaged).shape == (64, 40, 3) and as_it_was.shape == (40, 64, 3)
    stored = prepare(damaged, Treatment(), Checks(decode))
    (seen,) = dali([stored])
    assert seen.shape[:2] == (stored.height, stored.width) == (64, 40)


def test_pictures_that_differ_are_told_apart_from_those_that_agree():
    image = pixels(0)
    file, a_little, much = encoded(image), image.copy(), image.copy()
    a_little[0, 0, 0] = abs(int(a_little[0, 0, 0]) - LARGEST_DIFFERENCE)
    much[3, 4, 1] ^= 0x80
    found = disagreements([file, file, file, file], [image, a_little, much, image.transpose(1, 0, 2)])
    assert found[:2] == [None, None]
    assert found[2] == "DALI decodes it otherwise than Pillow, by up to 128 of 255 levels"
    assert found[3] == "DALI decodes it to 16 x 12 pixels, Pillow to 12 x 16"


def test_a_refused_file_does_not_spoil_its_batch(capfd):
    image = pixels(0)
    given = [encoded(image), b"broken", encoded(image, "WEBP", lossless=True), b"GIF89a", encoded(image)]
    refused = "DALI does not decode it"
    for _ in range(2):
        assert disagreements(given, [image] * 5) == [None, refused, None, refused, None]
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_share_a_pipeline():
    images = [pixels(seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: disagreements([encoded(image), b"x"], [image] * 2), images * 4))
    assert found == [[None, "DALI does not decode it"]] * 64
