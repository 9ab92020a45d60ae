"""Building DALI pipelines from recipes, and their outputs as tensors. Everything else about DALI is in the recipes."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np

from fastlt import augment
from fastlt.augmentation import policies, resize
from fastlt.config import PipelineConfig
from fastlt.data.decoding_child import BATCH
from fastlt.data.records import RecordBatch
from fastlt.errors import UserError
from fastlt.prefetch import Fed

Device = Literal["cpu", "gpu"]
Encoding = Literal["encoded", "raw"]
Source = Callable[[int], Fed]  # of the number of a batch, from 0
WINDOW = dict.fromkeys(("window_shape", "window_start"), "int32")  # what decoding a window takes


class Graph:
    """A recipe's whole graph in DALI: on a GPU, and on a CPU that has no compiled library.

    With `device_id` None and device "gpu" `pipeline` can be defined and serialised on a machine without a GPU, not run.
    """

    def __init__(
        self,
        config: PipelineConfig,
        batch: int,
        encoding: Encoding,
        device: Device,
        device_id: int | None,
        threads: int,
        prefetch: int,
        source: Source,
        half: bool = False,
    ) -> None:
        recipe = augment.load(config.name)

        def define(pictures, parameters):
            return recipe.graph(config, pictures, parameters, device, encoding, half)

        def fed(iteration: int) -> tuple[list, dict[str, np.ndarray]]:
            given = source(iteration)
            return given.pictures, _with_border(given.drawn, config.size)

        settings = {"batch_size": batch, "device_id": device_id, "num_threads": threads}
        layout = "HWC" if encoding == "raw" else ""
        kinds = parameter_dtypes(config)
        self.pipeline = _pipeline(define, fed, kinds, layout, settings, prefetch, _has_policy(config))

    def run(self, iteration: int, *cuda_stream):
        """The next batch, a torch tensor [B, size, size, 3] on the device; DALI counts them itself."""
        return to_torch(self.pipeline.run(*cuda_stream)[0])

    def close(self) -> None:
        del self.pipeline


def parameter_dtypes(config: PipelineConfig) -> dict[str, str]:
    """Name and dtype of what the recipe's graph is fed, sorted by name; they are the same for every batch."""
    one = np.zeros(1, np.int64), np.full((1, 2), config.size, np.int32)
    return _dtypes(_with_border(augment.load(config.name).parameters(config, 0, *one), config.size))


def decoder(batch: int, threads: int, prefetch: int, source: Source):
    """A pipeline whose `run()[0]` is the window of each encoded picture, uint8 [h, w, 3], on the CPU."""

    def define(pictures, parameters):
        return resize.decode(pictures, parameters, "cpu", "encoded")

    def fed(iteration: int) -> tuple[list, dict[str, np.ndarray]]:
        given = source(iteration)
        return given.pictures, {name: given.drawn[name] for name in WINDOW}

    settings = {"batch_size": batch, "device_id": None, "num_threads": threads}
    return _pipeline(define, fed, WINDOW, "", settings, prefetch)


def decoded(picture: np.ndarray, start: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3]: the window (int32 [2] each) of an encoded picture alone, on the CPU. Raises RuntimeError."""
    fed = Fed([picture], {"window_start": start[None].copy(), "window_shape": shape[None].copy()})
    return np.array(decoder(1, 1, 1, lambda _: fed).run()[0][0])


def policy(config: PipelineConfig, batch: int, threads: int, source: Callable[[int], tuple[list, dict]]):
    """A pipeline whose `run()[0]` is what the policy of `config` makes of pictures uint8 [size, size, 3], on the CPU.

    `source` returns the pictures of a batch and all that was drawn for them.
    """

    def define(pictures, parameters):
        return policies.apply(config, pictures, parameters)

    def fed(iteration: int) -> tuple[list, dict[str, np.ndarray]]:
        pictures, drawn = source(iteration)
        return pictures, {name: drawn[name] for name in names}

    names = dict.fromkeys(("policy_magnitude", "policy_operation", "policy_sign"), "int32")
    settings = {"batch_size": batch, "device_id": None, "num_threads": threads}
    return _pipeline(define, fed, names, "HWC", settings, prefetch=1, conditionals=True)


def to_dali(pictures: RecordBatch):
    """What DALI takes a batch of pictures as without a copy, and in a third of the time that a list of arrays costs."""
    tensors = _dali().tensors
    if isinstance(pictures, np.ndarray):
        return tensors.TensorListCPU(pictures)
    return tensors.TensorListCPU([tensors.TensorCPU(picture) for picture in pictures], contiguous=False)


def to_torch(output):
    """The torch tensor [B, H, W, 3] that shares the memory of a pipeline's output."""
    import torch

    return torch.from_dlpack(output.as_tensor())


def undecoded(
    pictures: list[np.ndarray],
    start: np.ndarray,
    shape: np.ndarray,
    device: Device = "cpu",
    device_id: int | None = None,
) -> list[int]:
    """The places of encoded pictures (uint8 [bytes]) whose window DALI does not decode on that device, ascending.

    start, shape: int32 [B, 2], the windows. Found by halving batches that are refused.
    """

    def define(given, parameters):
        return resize.decode(given, parameters, device, "encoded")

    def decode(rows: np.ndarray) -> bool:
        fed = [pictures[row] for row in rows], {"window_start": start[rows], "window_shape": shape[rows]}
        settings = {"batch_size": len(rows), "device_id": device_id, "num_threads": 1}
        try:
            _pipeline(define, lambda _: fed, WINDOW, "", settings, prefetch=1).run()
        except RuntimeError:
            return False
        return True

    def refused(rows: np.ndarray) -> list[int]:
        if decode(rows):
            return []
        half = len(rows) // 2
        return refused(rows[:half]) + refused(rows[half:]) if half else rows.tolist()

    rows = np.arange(len(pictures))
    return [row for at in range(0, len(rows), BATCH) for row in refused(rows[at : at + BATCH])]


def _pipeline(define, fed, kinds: dict[str, str], layout: str, settings: dict, prefetch: int, conditionals=False):
    """A `nvidia.dali.Pipeline` of `define(pictures, {name: DataNode})`, fed with pictures and arrays by name."""
    dali = _dali()
    types = {"int32": dali.types.INT32, "float32": dali.types.FLOAT}
    kinds = dict(sorted(kinds.items()))

    def source(info) -> list:
        pictures, arrays = fed(info.iteration)
        return [to_dali(pictures), *(arrays[name] for name in kinds)]

    def graph():
        pictures, *rest = dali.fn.external_source(
            source=source,
            num_outputs=1 + len(kinds),
            batch=True,
            batch_info=True,
            no_copy=True,  # DALI holds on to the arrays until it has used them; nobody writes to them meanwhile
            dtype=[dali.types.UINT8, *[types[kind] for kind in kinds.values()]],
            layout=[layout, *[""] * len(kinds)] if layout else None,  # telling it costs time for each picture
        )
        return define(pictures, {name: rest[place] for place, name in enumerate(kinds)})

    # Conditionals rewrite the code of the graph; only the policies choose among operators and need them.
    make = dali.pipeline_def(graph, enable_conditionals=conditionals)
    # Dynamic: an output owns its memory, so that it may outlive the batches after it.
    return make(**settings, prefetch_queue_depth=prefetch, exec_dynamic=True)


def _has_policy(config: PipelineConfig) -> bool:
    return bool(config.rand_augment or config.auto_augment)


def _with_border(drawn: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    return drawn | resize.border_parameters(drawn["window_shape"], size)


def _dtypes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: arrays[name].dtype.name for name in sorted(arrays)}


def _dali() -> ModuleType:
    try:
        import nvidia.dali
    except ImportError as error:
        raise UserError(
            "NVIDIA DALI is not installed, and decoding and augmenting need it; it runs on Linux: "
            "pip install nvidia-dali-cuda120"
        ) from error
    return nvidia.dali
