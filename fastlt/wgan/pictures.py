"""Real pictures as a critic sees them, and made ones as they are kept."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from fastlt.data.stored_picture import stored_picture
from fastlt.wgan.settings import Settings

SHOWN = (122 / 128, 186 / 192)  # of height and width: what is left when the frame around Corel's pictures is cut off


def real_picture(image: bytes | np.ndarray, settings: Settings) -> np.ndarray:
    """float32 [3, H, W] in [-1, 1] of a stored picture: portrait ones turned by 90 degrees, the centre, resized.

    The centre has the shape of the settings' size and is as large as fits, less a frame: of a Corel picture of
    128 x 192 it is 122 x 186. Raises whatever Pillow does for bytes that are no picture.
    """
    picture = stored_picture(image)
    if picture.height > picture.width:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    scale = min(picture.height / settings.height, picture.width / settings.width)
    height, width = (share * scale * side for share, side in zip(SHOWN, (settings.height, settings.width), strict=True))
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    shown = picture.resize((settings.width, settings.height), Image.Resampling.BILINEAR, box)
    return np.asarray(shown, np.float32).transpose(2, 0, 1) / 127.5 - 1


def kept_pictures(made: np.ndarray) -> list[np.ndarray]:
    """What is kept of float [3, 3, H, W] in [-1, 1], the pictures of the last three iterations.

    uint8 [H, W, 3] as it is, the next mirrored, and the last turned by 90 degrees clockwise.
    """
    plain, mirrored, turned = np.rint(np.clip((made + 1) * 127.5, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)
    return [plain, mirrored[:, ::-1], np.rot90(turned, -1)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()
