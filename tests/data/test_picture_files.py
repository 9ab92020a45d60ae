"""Picture files for prediction: measured by their headers, shown as Pillow shows them."""

import io

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image

from fastlt.data import decoders_agree, pictures
from fastlt.data.picture_files import PictureFiles

NAMES = ("plain.jpg", "turned.jpg", "alpha.png", "palette.gif", "grey16.png")


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def paths(tmp_path):
    image = Image.fromarray(pixels(0))
    alpha = image.copy()
    alpha.putalpha(128)
    grey16 = Image.fromarray(pixels(1)[..., 0].astype(np.uint16) * 257)
    contents = (
        encoded(image, "JPEG"),
        encoded(image, "JPEG", exif=oriented(6)),
        encoded(alpha),
        encoded(image, "GIF"),
        encoded(grey16),
    )
    for name, content in zip(NAMES, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in NAMES]


def test_sizes_are_those_of_the_picture_upright(paths):
    files = PictureFiles(paths)
    assert files.shapes(np.arange(5)).tolist() == [[12, 16], [16, 12], [12, 16], [12, 16], [12, 16]]
    assert files.ids(np.array([1, 0])) == [str(paths[1]), str(paths[0])] and files.unreadable == []


def test_plain_files_are_read_as_they_are_and_others_as_pillow_shows_them(paths):
    read = PictureFiles(paths).read(np.arange(5))
    assert [bytes(read[i]) for i in (0, 1)] == [paths[i].read_bytes() for i in (0, 1)]
    assert np.array_equal(as_png(read[2]), pixels(0))  # alpha is dropped
    assert np.array_equal(as_png(read[3]), np.asarray(Image.open(paths[3]).convert("RGB")))
    assert np.array_equal(as_png(read[4]), np.repeat(pixels(1)[..., :1], 3, axis=2))  # the upper 8 bits


def as_png(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_plain_files_are_not_decoded_and_nothing_is_tried(paths, monkeypatch):
    monkeypatch.setattr(decoders_agree, "disagreements", lambda *_: pytest.fail("tried"))
    assert len(PictureFiles(paths)) == 5
    monkeypatch.setattr(pictures, "_load", lambda _: pytest.fail("decoded"))
    assert len(PictureFiles(paths[:2]).read(np.arange(2))) == 2


def test_what_is_no_picture_or_was_cut_off_is_named_and_left_out(paths, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(paths[0].read_bytes()[:-40])
    (tmp_path / "note.png").write_text("no picture")
    files = PictureFiles([tmp_path / "cut.jpg", paths[0], tmp_path / "note.png", tmp_path / "gone.jpg"])
    assert files.paths == [paths[0]]
    assert [path.name for path, _ in files.unreadable] == ["cut.jpg", "note.png", "gone.jpg"]
    reasons = [reason for _, reason in files.unreadable]
    assert "truncated" in reasons[0] and "cannot identify" in reasons[1] and "No such file" in reasons[2]
