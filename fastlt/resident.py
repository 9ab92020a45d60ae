"""Small raw pictures held whole in memory.

On the GPU, for recipes that resize none of them: what travels for a step are their numbers and what was drawn for them;
CIFAR-10 takes 150 MB. The steps are those of `ops.pictures_to_batch` and their pixels its, but for roundings
(tests/test_resident.py), in PyTorch's own operators, so on any device. On the CPU that operator itself takes them from
there, and nothing is read or copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlt import one_pass
from fastlt.config import PipelineConfig
from fastlt.dali import Source
from fastlt.free_memory import free_memory

AT_ONCE = 4096  # pictures read by one call
SHARE = 0.25  # of the memory that is free
MOST_ON_CPU = 1 << 30  # larger sets take too long to read before the first step


class Numbers:
    """The records of a set that is held where it is shown: its pictures are read as their numbers, int64 [B]. All
    else is the set's own."""

    encoding = "raw"  # nothing of them is to be decoded

    def __init__(self, records: Any) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return indices


def held(records: Any, device: torch.device, room: int) -> Tensor | None:
    """uint8 [N, h, w, 3] on `device`: all pictures; None where they are not raw ones of one shape, are read from an
    address, or take more than `room` bytes."""
    if records.encoding != "raw" or records.is_remote or not len(records):
        return None
    height, width = records.shapes(np.zeros(1, np.int64))[0].tolist()
    if len(records) * height * width * 3 > room:
        return None
    if not (records.shapes(np.arange(len(records))) == (height, width)).all():
        return None
    pictures = torch.empty((len(records), height, width, 3), dtype=torch.uint8, device=device)
    for begin in range(0, len(records), AT_ONCE):
        some = np.arange(begin, min(begin + AT_ONCE, len(records)))
        pictures[some[0] : some[-1] + 1] = torch.from_numpy(records.read(some))
    return pictures


def held_as_shown(records: Any, configs: list[PipelineConfig], device: torch.device, room: int) -> Tensor | None:
    """What `held` gives, where every recipe shows the pictures whole and in the size that they have."""
    size = configs[0].size
    if not all(config.size == size and _shows_whole(config) for config in configs):
        return None
    if not len(records) or (records.shapes(np.zeros(1, np.int64)) != size).any():
        return None
    return held(records, device, room)


def room(device: torch.device) -> int:
    """Bytes that a set may take."""
    free = int((free_memory(device) or 0) * SHARE)
    return free if device.type == "cuda" else min(MOST_ON_CPU, free)


class Graph:
    """Like `dali.Graph`, of pictures that are held: `source` gives their numbers."""

    def __init__(self, config: PipelineConfig, pictures: Tensor, source: Source, half: bool = False) -> None:
        self.pictures, self.source = pictures, source
        self._dtype = torch.float16 if half else torch.float32
        self._normalised = {
            name: torch.tensor(each, device=pictures.device) for name, each in one_pass.normalisation(config).items()
        }

    def run(self, iteration: int, *cuda_stream: torch.cuda.Stream) -> Tensor:
        """The batch of an iteration, [B, size, size, 3] float32 or (half) float16, made on the present stream."""
        fed = self.source(iteration)
        device = self.pictures.device
        steps = {name: sent(rows, device) for name, rows in one_pass.steps(fed.drawn).items() if rows is not None}
        return shown(self.pictures, sent(fed.pictures, device), **steps, **self._normalised).to(self._dtype)

    def close(self) -> None:
        """Nothing is left running."""


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device, for which the host does not wait."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


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
