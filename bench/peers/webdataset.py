"""WebDataset: tar archives read in order through a shuffling buffer; torchvision's transforms on tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from fastlt.bench.peers import Setting
from torch.utils.data import DataLoader
from torchvision import io
from torchvision.transforms import v2

NEEDS = "webdataset"
ARCHIVES, BUFFER = 8, 1000


@contextmanager
def batches(setting: Setting) -> Iterator[Iterator]:
    import webdataset

    config = setting.pipeline
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, config.scale, config.ratio, antialias=True),
            v2.RandomHorizontalFlip(config.horizontal_flip),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(config.mean, config.std, inplace=True),
        ]
    )

    def decoded(sample: dict) -> torch.Tensor:
        data = torch.from_numpy(np.frombuffer(bytearray(sample["jpg"]), np.uint8))
        return transform(io.decode_image(data, io.ImageReadMode.RGB))

    stored = webdataset.WebDataset(_archives(setting), resampled=True, shardshuffle=False)
    samples = stored.shuffle(BUFFER).map(decoded).batched(setting.batch, collation_fn=torch.stack, partial=False)
    flow = iter(DataLoader(samples, batch_size=None, num_workers=setting.cores))
    try:
        yield flow
    finally:
        flow._shutdown_workers()


def _archives(setting: Setting) -> list[str]:
    import webdataset

    folder = setting.folder / "webdataset"
    if not folder.exists():
        folder.mkdir()
        for number in range(ARCHIVES):
            with webdataset.TarWriter(str(_name(folder, number))) as archive:
                for index in range(number, len(setting.records), ARCHIVES):
                    record = setting.records.read(np.array([index]))[0].tobytes()
                    archive.write({"__key__": f"{index:08d}", "jpg": record})
    return [str(_name(folder, number)) for number in range(ARCHIVES)]


def _name(folder: Path, number: int) -> Path:
    return folder / f"{number}.tar"
