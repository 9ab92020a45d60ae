"""What DALI would refuse before it decodes is found by a look at the header; whole pictures pass."""

import corrupted
import numpy as np
import pytest
from corrupted import ACCEPTED, OF_WINDOWS, REFUSED_AT_ONCE, REFUSED_LATER, SIDE, WHOLE

from fastlt.data.first_look import fault


def look(data, height=SIDE, width=SIDE):
    return fault(np.frombuffer(data, np.uint8), height, width)


@pytest.mark.parametrize("kind", REFUSED_AT_ONCE)
def test_what_is_no_picture_of_the_stated_size_is_found(kind):
    assert look(REFUSED_AT_ONCE[kind])


@pytest.mark.parametrize("kind", [*WHOLE, *ACCEPTED])
def test_pictures_pass(kind):
    assert look((WHOLE | ACCEPTED)[kind]) is None


@pytest.mark.parametrize("kind", [*REFUSED_LATER, *OF_WINDOWS])
def test_what_lies_behind_the_header_is_left_to_the_decoder(kind):
    assert look((REFUSED_LATER | OF_WINDOWS)[kind]) is None


def test_an_orientation_turns_the_size():
    wide = corrupted.saved("JPEG")
    assert look(wide, SIDE, SIDE + 1) == f"it has {SIDE} x {SIDE} pixels, the shard says {SIDE + 1} x {SIDE}"


@pytest.mark.parametrize("options", [{}, {"comment": b"Exif"}])
def test_a_rotated_picture_has_its_sides_the_other_way_round(options):
    import io

    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, "JPEG", exif=exif.tobytes(), **options)
    assert look(file.getvalue(), 40, 20) is None
    assert look(file.getvalue(), 20, 40)


def test_other_formats_are_decoded_in_another_process():
    tiff = corrupted.saved("TIFF")
    assert look(tiff) is None
    assert (
        look(tiff, SIDE, SIDE + 1) == f"DALI decodes it to {SIDE} x {SIDE} pixels, the shard says {SIDE + 1} x {SIDE}"
    )


def test_no_memory_is_taken_for_pixels_that_a_shard_declares():
    assert "at most" in look(corrupted.JPEG, 1 << 30, 1 << 30)
