"""DALI shows every stored picture as Pillow shows the original: the promise that lets files pass through untouched."""

import io

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image, ImageOps

from fastlt.data.pictures import Treatment, prepare


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


def test_dali_shows_what_pillow_shows():
    fn = pytest.importorskip("nvidia.dali.fn", reason="needs DALI")
    from nvidia.dali import pipeline_def

    names, originals = zip(*files(), strict=True)
    stored = [prepare(data, Treatment()) for data in originals]

    @pipeline_def(batch_size=len(stored), num_threads=2, device_id=None)
    def graph():
        return fn.decoders.image(fn.external_source(name="files"), device="cpu")

    pipeline = graph()
    pipeline.feed_input("files", [np.frombuffer(picture.data, np.uint8) for picture in stored])
    (decoded,) = pipeline.run()
    for i, name in enumerate(names):
        seen = np.asarray(decoded.at(i))
        assert seen.shape[:2] == (stored[i].height, stored[i].width), name
        assert np.array_equal(seen, shown(originals[i])), name
