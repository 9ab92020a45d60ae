"""Small raw pictures held whole on the GPU: what travels for a step are their numbers and what was drawn for them.

For recipes that resize none of them; CIFAR-10 takes 150 MB. The steps are those of `ops.pictures_to_batch` and their
pixels its, but for roundings (tests/test_resident.py), in PyTorch's own operators, so on any device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlt import one_pass
from fastlt.config import PipelineConfig
from fastlt.dali import Source

AT_ONCE = 4096  # pictures read by one call
SHARE = 0.25  # of the memory that is free


class Numbers:
    """The records of a set that is held: its pictures are read as their numbers, int64 [B]."""

    encoding = "raw"  # nothing of them is to be decoded

    def __init__(self, records: Any) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return indices


def held(records: Any, configs: list[PipelineConfig], device: torch.device, room: int) -> Tensor | None:
    """uint8 [N, size, size, 3] on `device`: all pictures; None where they are not raw ones of the one size that every
    recipe shows whole, are read from an address, or take more than `room` bytes."""
    size = configs[0].size
    if records.encoding != "raw" or records.is_remote or len(records) * size * size * 3 > room:
        return None
    if not all(config.size == size and _shows_whole(config) for config in configs):
        return None
    if not (records.shapes(np.arange(len(records))) == size).all():
        return None
    pictures = torch.empty((len(records), size, size, 3), dtype=torch.uint8, device=device)
    for begin in range(0, len(records), AT_ONCE):
        some = np.arange(begin, min(begin + AT_ONCE, len(records)))
        pictures[some[0] : some[-1] + 1] = torch.from_numpy(np.stack(list(records.read(some))))
    return pictures


def room(device: torch.device) -> int:
    """Bytes of a GPU that a set may take."""
    return int(torch.cuda.mem_get_info(device)[0] * SHARE)


class Graph:
    """Like `dali.Graph`, of pictures that are held: `source` gives their numbers."""

    def __init__(self, config: PipelineConfig, pictures: Tensor, source: Source, half: bool = False) -> None:
        self.pictures, self.source = pictures, source
        self._dtype = torch.float16 if half else torch.float32
        self._normalised = {
            name: torch.tensor(each, device=pictures.device) for name, each in one_pass.normalisation(config).items()
        }
        self._iteration = 0

    def run(self, *cuda_stream: torch.cuda.Stream) -> Tensor:
        """The next batch, [B, size, size, 3] float32 or (half) float16, made on the present stream."""
        fed = self.source(self._iteration)
        self._iteration += 1
        steps = {name: self._sent(rows) for name, rows in one_pass.steps(fed.drawn).items() if rows is not None}
        return shown(self.pictures, self._sent(fed.pictures), **steps, **self._normalised).to(self._dtype)

    def close(self) -> None:
        """Nothing is left running."""

    def _sent(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.pictures.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.pictures.device, non_blocking=True)


def shown(
    pictures: Tensor,
    numbers: Tensor,
    *,
    offsets: Tensor | None = None,
    mirrored: Tensor | None = None,
    upside_down: Tensor | None = None,
    color_matrices: Tensor | None = None,
    color_shifts: Tensor | None = None,
    erased: Tensor | None = None,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """float32 [B, size, size, 3]: `numbers` (int64 [B]) of `pictures` (uint8 [N, size, size, 3]), with the steps of
    `ops.pictures_to_batch` from the second on; `scale` and `shift`: float32 [3]."""
    size = pictures.shape[1]
    top, left = (None, None) if offsets is None else offsets.unbind(1)
    rows, row_there = _taken(size, numbers, top, upside_down)
    columns, column_there = _taken(size, numbers, left, mirrored)
    image = pictures[numbers[:, None, None], rows[:, :, None], columns[:, None, :]].float()
    image = image * (row_there[:, :, None] & column_there[:, None, :])[..., None]
    if color_matrices is not None:
        image = torch.einsum("brxc,bdc->brxd", image, color_matrices) + color_shifts[:, None, None]
        image = image.round().clamp(0, 255)
    image = image * scale + shift
    if erased is not None:
        image = image * ~_inside(erased, size)[..., None]
    return image


def _taken(size: int, like: Tensor, start: Tensor | None, turned: Tensor | None) -> tuple[Tensor, Tensor]:
    """[B, size]: which line of its picture each line shows, and whether there is one."""
    line = torch.arange(size, device=like.device).expand(len(like), size)
    if turned is not None:
        line = torch.where(turned[:, None] != 0, size - 1 - line, line)
    if start is not None:
        line = line + start[:, None]
    return line.clamp(0, size - 1), (line >= 0) & (line < size)


def _inside(windows: Tensor, size: int) -> Tensor:
    """bool [B, size, size]: whether a pixel is in its window, int32 [B, 4] of top, left, height, width."""
    line = torch.arange(size, device=windows.device)
    start, end = windows[:, :2, None], windows[:, :2, None] + windows[:, 2:, None]
    rows, columns = ((line >= start) & (line < end)).unbind(1)
    return rows[:, :, None] & columns[:, None, :]


def _shows_whole(config: PipelineConfig) -> bool:
    whole = config.name in ("crop_flip", "squash") or config.name == "evaluate" and config.resize == "squash"
    return whole and not (config.rand_augment or config.auto_augment)
