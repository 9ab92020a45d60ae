"""Plain PyTorch as a competent person writes it: pictures from a DataLoader with workers, torchvision v2, NCHW, fp32.

It takes which picture comes next, and how it is cropped and flipped, from fastlt's streams and recipes, so that both
sides of a comparison see the same pictures; decoding, resizing, flipping and normalising are Pillow's and
torchvision's. `plain_training.py` trains on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import io
from torchvision.transforms.v2 import functional as F

from fastlt import augment
from fastlt.config import PipelineConfig
from fastlt.errors import UserError
from fastlt.streams import Stream

Form = Literal["pillow", "torchvision", "torchcodec"]
UNDERSTOOD = {"window_start", "window_shape", "mirror", "crop_start", "crop_shape"}  # what is drawn for a picture


@dataclass(frozen=True)
class Pictures:
    """What a plain data set holds: a file each, or one array uint8 [N, H, W, 3]; sizes [N, 2] and labels of all."""

    files: list[Path] | np.ndarray
    shapes: np.ndarray
    labels: np.ndarray


class PlainPictures(Dataset):
    """Position of a stream -> (float32 [3, size, size], label). `form` says who decodes and resizes.

    Raises UserError for a recipe that does more than crop, resize, flip and normalise.
    """

    def __init__(self, pictures: Pictures, stream: Stream, pipeline: PipelineConfig, key: int, form: Form) -> None:
        self.pictures, self.stream, self.pipeline, self.key, self.form = pictures, stream, pipeline, key, form
        self.recipe = augment.load(pipeline.name)
        more = self._draw(np.zeros(1, np.int64), np.zeros(1, np.int64)).keys() - UNDERSTOOD
        if more:
            raise UserError(
                f"the baseline does not know what recipe {pipeline.name} draws as {', '.join(sorted(more))}"
            )

    def __getitems__(self, positions: list[int]) -> list[tuple[Tensor, np.ndarray]]:
        """All positions of a batch, in ascending order without gaps: what is random is drawn for them together."""
        index = self.stream.indices(positions[0], len(positions))
        drawn = self._draw(np.asarray(positions), index)
        rows = [{name: drawn[name][i] for name in UNDERSTOOD & drawn.keys()} for i in range(len(index))]
        return [(self._picture(int(i), row), self.pictures.labels[i]) for i, row in zip(index, rows, strict=True)]

    def _draw(self, positions: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        return self.recipe.parameters(self.pipeline, self.key, positions, self.pictures.shapes[index])

    def _picture(self, index: int, drawn: dict[str, np.ndarray]) -> Tensor:
        size = self.pipeline.size
        image = self._read(index)
        top, left = drawn["window_start"].tolist()
        height, width = drawn["window_shape"].tolist()
        if (height, width) != (size, size) or F.get_size(image) != [size, size]:
            image = F.resized_crop(image, top, left, height, width, [size, size], antialias=True)
        if "crop_start" in drawn:
            top, left = drawn["crop_start"].tolist()
            image = F.crop(image, top, left, size, size)  # zero outside the picture
        if drawn.get("mirror", 0):
            image = F.horizontal_flip(image)
        image = F.to_dtype(F.pil_to_tensor(image) if self.form == "pillow" else image, torch.float32, scale=True)
        return F.normalize(image, self.pipeline.mean, self.pipeline.std, inplace=True)

    def _read(self, index: int) -> Image.Image | Tensor:
        source = self.pictures.files[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source) if self.form == "pillow" else torch.from_numpy(source).permute(2, 0, 1)
        if self.form == "pillow":
            with Image.open(source) as picture:
                return picture.convert("RGB")
        return _decoders()[self.form](source)


def _decoders() -> dict:
    def by_torchvision(path: Path) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 points to torchcodec
            return io.decode_image(io.read_file(str(path)), io.ImageReadMode.RGB)

    def by_torchcodec(path: Path) -> Tensor:
        from torchcodec.decoders import ImageReadMode, decode_image

        return decode_image(str(path), mode=ImageReadMode.RGB)

    return {"torchvision": by_torchvision, "torchcodec": by_torchcodec}


class Positions:
    """Batches of a stream's positions from 0 on, without end."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[range]:
        start = 0
        while True:
            yield range(start, start + self.batch)
            start += self.batch


@contextmanager
def plain_batches(dataset: PlainPictures, batch: int, workers: int) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """An endless iterator of (images [batch, 3, size, size], labels), made by worker processes that end with it.

    Two batches a worker are made ahead, torch's default. On a GPU they come from pinned memory.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=Positions(batch),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
    )
    flow = iter(loader)
    try:
        yield flow
    finally:
        if workers:
            flow._shutdown_workers()


def _collate(rows: list[tuple[Tensor, np.ndarray]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*rows, strict=True)
    return torch.stack(images), torch.from_numpy(np.stack(labels))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
