"""What re-encodes pictures beside our build: Pillow in one process, and FFCV's writer in as many as there are cores.

All scale to the same longest side and write JPEG of the same quality with libjpeg's usual 4:2:0 subsampling.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from PIL import Image


def write_by_pillow(paths: list[Path], out: Path, longest: int, quality: int) -> None:
    with open(out, "wb") as file:
        for path in paths:
            with Image.open(path) as picture:
                encoded = io.BytesIO()
                picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
                picture.convert("RGB").save(encoded, "JPEG", quality=quality)
                file.write(encoded.getvalue())


def ffcv_missing() -> str | None:
    """Why FFCV cannot be timed; None if it can. It is compiled where it is installed, so only importing it tells."""
    try:
        import ffcv.writer  # noqa: F401
    except ModuleNotFoundError as error:
        return "not installed" if error.name == "ffcv" else f"not installed whole: no {error.name}"
    except Exception as error:  # a shared library that is not there, numba and numpy that do not fit
        return f"not importable: {error}"
    return None


def write_by_ffcv(paths: list[Path], out: Path, longest: int, quality: int) -> None:
    """As FFCV's own ImageNet script does it: a data set that opens files by Pillow, pictures written as JPEG."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    image = RGBImageField(write_mode="jpg", max_resolution=longest, jpeg_quality=quality)
    fields = {"image": image, "label": IntField()}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        DatasetWriter(str(out), fields, num_workers=os.cpu_count() or 1).from_indexed_dataset(_Opened(paths))


class _Opened:
    """Pillow pictures and labels by number."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        with Image.open(self.paths[number]) as picture:
            return picture.convert("RGB"), 0
