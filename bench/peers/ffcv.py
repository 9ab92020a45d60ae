"""FFCV: its loader over the very same JPEG bytes, which its own writer would have encoded anew.

Its random resized crop weighs pixels by area (OpenCV's INTER_AREA), so its pictures are alike, not the same.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fastlt.bench.peers import Setting

NEEDS = "ffcv"


@contextmanager
def batches(setting: Setting) -> Iterator[Iterator]:
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage

    config = setting.pipeline
    steps = [
        RandomResizedCropRGBImageDecoder((config.size, config.size), config.scale, config.ratio),
        RandomHorizontalFlip(config.horizontal_flip),
        NormalizeImage(255 * np.array(config.mean), 255 * np.array(config.std), np.float32),
        ToTensor(),
        ToTorchImage(),
    ]
    loader = Loader(
        str(_written(setting)),
        batch_size=setting.batch,
        num_workers=setting.cores,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        pipelines={"image": steps},
    )
    yield (images for _ in iter(int, 1) for (images,) in loader)


def _written(setting: Setting) -> Path:
    from ffcv.writer import DatasetWriter

    path = setting.folder / "pictures.beton"
    if not path.exists():
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            DatasetWriter(str(path), {"image": _as_it_is()}, num_workers=1).from_indexed_dataset(_Records(setting))
    return path


class _Records:
    def __init__(self, setting: Setting) -> None:
        self.records = setting.records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple:
        at = np.array([index])
        return ((self.records.read(at)[0], self.records.shapes(at)[0]),)


def _as_it_is():
    """A field that stores JPEGs without encoding them anew: (bytes, (height, width))."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import IMAGE_MODES

    def encode(destination, picture, malloc) -> None:
        data, (height, width) = picture
        destination["mode"], destination["height"], destination["width"] = IMAGE_MODES["jpg"], height, width
        destination["data_ptr"], place = malloc(data.nbytes)
        place[:] = data

    field = RGBImageField(write_mode="jpg")  # of this very type, by which the reader knows it
    field.encode = encode
    return field
