"""A recipe on the CPU: DALI decodes the windows, one pass of the compiled operator does the rest.

DALI's own resize and normalisation take several times as long as the decoding. Only the policies (RandAugment,
AutoAugment) are still DALI's: then the operator resizes to whole numbers, DALI applies the policy, and a second pass of
the operator, which resizes nothing, ends the way.
"""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastlt import augment, dali, scaled_decoding
from fastlt.config import PipelineConfig
from fastlt.data.records import RecordBatch
from fastlt.ops import pictures as operator
from fastlt.prefetch import Fed


class Pictures(NamedTuple):
    """B pictures, uint8 [h, w, 3] each or all in one [B, h, w, 3]; with `numbers` (int64 [B]) those of many that are
    held, [N, h, w, 3]."""

    pictures: list[Tensor] | Tensor
    numbers: Tensor | None = None

    def part(self, rows: slice) -> dict[str, list[Tensor] | Tensor | None]:
        if self.numbers is None:
            return {"pictures": self.pictures[rows]}
        return {"pictures": self.pictures, "numbers": self.numbers[rows]}


PIXELS_A_TASK = 1 << 18  # of the output: below that, handing out costs as much as doing


def serves(config: PipelineConfig) -> bool:
    """Whether the operator is there, and the recipe one of those that it knows all steps of."""
    return getattr(augment.load(config.name), "ONE_PASS", False) and operator.available()


def in_any_order(config: PipelineConfig) -> bool:
    """Whether batches of pictures that are held may be asked for in any order, and several at once."""
    return serves(config) and not (config.rand_augment or config.auto_augment)  # DALI keeps an order


class OnePass:
    """Like `dali.Graph` on the CPU, within a bound that the tests state; `close` ends its threads.

    They are its own and not PyTorch's, which after their part go on spinning for a while, at the cost of the decoders.
    """

    def __init__(
        self,
        config: PipelineConfig,
        batch: int,
        encoding: dali.Encoding,
        threads: int,
        prefetch: int,
        source: dali.Source,
        half: bool = False,
        held: Tensor | None = None,
    ) -> None:
        """With `held` (uint8 [N, h, w, 3]) the source gives numbers of its pictures."""
        self.config, self.source, self._held = config, source, held
        self._normalised = normalisation(config)
        self._scaled = scaled_decoding.WithoutScaled(source, config.size) if config.scaled_decoding else None
        self._decoder = None
        if encoding == "encoded":
            self._decoder = dali.decoder(batch, threads, prefetch, self._scaled or source)
        shape = (batch, config.size, config.size, 3)
        self._workers = ThreadPoolExecutor(threads, "fastlt-resize")
        self._batches = Memory(shape, torch.float16 if half else torch.float32)
        self._squares = self._policy = None
        if config.rand_augment or config.auto_augment:
            self._squares = Memory(shape, torch.uint8)
            self._policy = dali.policy(config, batch, threads, self._resized)

    def run(self, iteration: int) -> Tensor:
        """The batch of an iteration, [B, size, size, 3] float32 or (half) float16; to be asked for in order, by one
        thread, unless `in_any_order` and held."""
        fed = self.source(iteration)
        batch = self._batches.take()
        if self._policy is None:
            pictures, windows = self._pictures(fed, iteration)
            self._show(batch, pictures, windows, steps(fed.drawn), **self._normalised)
        else:
            squares = dali.to_torch(self._policy.run()[0])
            windows = np.tile(np.array([0, 0, self.config.size, self.config.size], np.int32), (len(squares), 1))
            self._show(batch, Pictures(squares), windows, _finishing(fed.drawn), **self._normalised)
        return batch

    def close(self) -> None:
        self._workers.shutdown()

    def _show(self, batch: Tensor, pictures: Pictures, windows: np.ndarray, steps: dict, **normalised) -> None:
        """Steps: an array with a row for each picture, or None."""
        tensors = {
            name: torch.from_numpy(rows) for name, rows in (steps | {"windows": windows}).items() if rows is not None
        }

        count = max(1, PIXELS_A_TASK // self.config.size**2)
        if count >= len(batch):
            return operator.pictures_to_batch(batch, **pictures._asdict(), **tensors, **normalised, parallel=False)

        def task(part: slice) -> None:
            rows = {name: tensor[part] for name, tensor in tensors.items()}
            operator.pictures_to_batch(batch[part], **pictures.part(part), **rows, **normalised, parallel=False)

        list(self._workers.map(task, [slice(k, k + count) for k in range(0, len(batch), count)]))

    def _resized(self, iteration: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the policy begins with; it asks for batch after batch."""
        fed = self.source(iteration)
        squares = self._squares.take()
        pictures, windows = self._pictures(fed, iteration)
        self._show(squares, pictures, windows, _placing(fed.drawn))
        return squares.numpy(), fed.drawn

    def _pictures(self, fed: Fed, iteration: int) -> tuple[Pictures, np.ndarray]:
        """And int32 [B, 4]: the windows to show of them."""
        start, shape = fed.drawn["window_start"], fed.drawn["window_shape"]
        if self._decoder is None:
            return self._raw(fed.pictures), np.concatenate([start, shape], axis=1)
        decoded = self._decoder.run()[0]
        pictures, windows = [np.asarray(window) for window in decoded], np.pad(shape, ((0, 0), (2, 0)))
        for row, divisor, picture in self._decoded_smaller(fed, iteration):
            if picture is None:  # Pillow refuses more than DALI does
                pictures[row] = dali.decoded(fed.pictures[row], start[row], shape[row])
            else:
                pictures[row], windows[row] = picture, scaled_decoding.window(start[row], shape[row], divisor)
        return Pictures([torch.from_numpy(picture) for picture in pictures]), windows

    def _raw(self, records: RecordBatch) -> Pictures:
        """Of what is stored raw, or of its numbers."""
        if self._held is None:
            return Pictures(_as_tensors(records))
        return Pictures(self._held, torch.from_numpy(records))

    def _decoded_smaller(self, fed: Fed, iteration: int) -> list[tuple[int, int, np.ndarray | None]]:
        """Rows that are, with their divisors and pictures."""
        found = self._scaled.taken(iteration) if self._scaled else {}
        pictures = self._workers.map(scaled_decoding.decode, [fed.pictures[row] for row in found], found.values())
        return list(zip(found, found.values(), pictures, strict=True))


class Memory:
    """Tensors of one shape, in memory that is used again when nothing refers to the last tensor in it any more; for
    any number of threads.

    Fresh memory for a large batch costs as much time as filling it: the system clears it page by page.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[np.ndarray] = []

    def take(self) -> Tensor:
        """A tensor whose values are anything."""
        try:
            array = self._free.pop()
        except IndexError:
            array = torch.empty(self._shape, dtype=self._dtype, device="cpu").numpy()
        lease = array.view()  # torch holds it as long as there is a view of the tensor
        weakref.finalize(lease, self._free.append, array).atexit = False
        return torch.from_numpy(lease)


def normalisation(config: PipelineConfig) -> dict[str, list[float]]:
    """`scale` and `shift` of each channel, of pixels in 0..255."""
    return {
        "scale": [1 / (255 * std) for std in config.std],
        "shift": [-mean / std for mean, std in zip(config.mean, config.std, strict=True)],
    }


def steps(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """All that happens to the pictures of a recipe without a policy after resizing, by the operator's names."""
    return _placing(drawn) | _finishing(drawn)


def _placing(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """What happens before a policy."""
    return {"offsets": drawn.get("crop_start"), "upside_down": drawn.get("upside_down")}


def _finishing(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """What happens after it."""
    erased = None
    if "cutout_start" in drawn:
        erased = np.concatenate([drawn["cutout_start"], drawn["cutout_shape"]], axis=1).astype(np.int32)
    return {
        "mirrored": drawn.get("mirror"),
        "color_matrices": drawn.get("color_matrix"),
        "color_shifts": drawn.get("color_shift"),
        "erased": erased,
    }


def _as_tensors(records: RecordBatch) -> list[Tensor] | Tensor:
    """They must not be of memory that is read-only."""
    if isinstance(records, np.ndarray):
        return torch.from_numpy(records)
    values = torch.from_numpy(np.concatenate([record.reshape(-1) for record in records]))
    parts = values.split([record.size for record in records])
    return [part.view(record.shape) for part, record in zip(parts, records, strict=True)]
