"""The loader alone: against Pillow and torchvision in a torch DataLoader, doing the same to the same pictures."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from fastlt.bench.photos import photo_set
from fastlt.bench.timing import case, rates_in_turn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig
from fastlt.loader import Loader

BATCH, BATCHES, SIZE = 64, 20, 224  # many batches a turn: what was prefetched in the other's turn is a gift
PIPELINE = PipelineConfig(name="random_resized_crop", size=SIZE)


class PlainPictures(Dataset):
    """Files decoded by Pillow and augmented by torchvision, as most training scripts do it."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(SIZE, PIPELINE.scale, PIPELINE.ratio, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(PIPELINE.mean, PIPELINE.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as picture:
            return self.transform(picture.convert("RGB"))


def cases(data: Path | None) -> list[dict]:
    """Images per second of a random resized crop to 224 with flip and normalisation, all cores on each side."""
    cores = os.cpu_count() or 1
    with photo_set(data) as (records, files):
        settings = DataConfig(path=records.folder, threads=cores)
        plain = DataLoader(
            PlainPictures(files),
            BATCH,
            shuffle=True,
            num_workers=cores,
            drop_last=True,
            persistent_workers=True,
            prefetch_factor=1,  # one batch a core, about what DALI holds
        )
        endless = _endless(plain)
        with Loader(records, {"main": StreamSpec()}, PIPELINE, BATCH, 0, settings) as loader:

            def ours() -> int:
                return sum(len(next(loader).images["main"]) for _ in range(BATCHES))

            def torch_loader() -> int:
                return sum(len(next(endless)) for _ in range(BATCHES))

            rates = rates_in_turn({"fastlt": ours, "Pillow DataLoader": torch_loader})
        return [case(name, rates, "images", "Pillow DataLoader") | {"threads": cores} for name in rates]


def _endless(loader: DataLoader):
    while True:
        yield from loader
