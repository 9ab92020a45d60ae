"""Building DALI pipelines from recipes, and their outputs as tensors. Everything else about DALI is in the recipes."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np

from fastlt import augment
from fastlt.config import PipelineConfig
from fastlt.errors import UserError


def build(
    config: PipelineConfig,
    batch: int,
    encoding: Literal["encoded", "raw"],
    device: Literal["cpu", "gpu"],
    device_id: int | None,
    threads: int,
    prefetch: int,
    source: Callable,
    half: bool = False,
):
    """A `nvidia.dali.Pipeline` whose `run()[0]` is one batch [batch, size, size, 3].

    `source(info)` is called with a `nvidia.dali.types.BatchInfo` for every batch and returns
    [pictures, parameter, parameter ...], pictures as `fed` gives them or as a list of arrays, the parameters in the
    order of their sorted names; none of it may be written to afterwards. With `device_id` None and
    device "gpu" the pipeline can be defined and serialised on a machine without a GPU, not run.
    """
    dali = _dali()
    recipe = augment.load(config.name)
    kinds = parameter_dtypes(config)
    types = {"int32": dali.types.INT32, "float32": dali.types.FLOAT}

    def define():
        pictures, *rest = dali.fn.external_source(
            source=source,
            num_outputs=1 + len(kinds),
            batch=True,
            batch_info=True,
            no_copy=True,  # DALI holds on to the arrays until it has used them
            dtype=[dali.types.UINT8, *[types[kind] for kind in kinds.values()]],
            layout=["HWC", *[""] * len(kinds)] if encoding == "raw" else None,  # telling it costs time for each picture
        )
        parameters = {name: rest[place] for place, name in enumerate(kinds)}
        return recipe.graph(config, pictures, parameters, device, encoding, half)

    # Conditionals rewrite the code of the graph; only the policies choose among operators and need them.
    make = dali.pipeline_def(define, enable_conditionals=bool(config.rand_augment or config.auto_augment))
    return make(
        batch_size=batch,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=prefetch,
        exec_dynamic=True,  # an output owns its memory, so that it may outlive the batches after it
    )


def parameter_dtypes(config: PipelineConfig) -> dict[str, str]:
    """Name and dtype of what the recipe draws, sorted by name; they are the same for every batch."""
    one = np.zeros(1, np.int64), np.full((1, 2), config.size, np.int32)
    drawn = augment.load(config.name).parameters(config, 0, *one)
    return {name: drawn[name].dtype.name for name in sorted(drawn)}


def fed(pictures: list[np.ndarray]):
    """What DALI takes a batch of pictures as without a copy, and in a third of the time that a list of arrays costs."""
    tensors = _dali().tensors
    return tensors.TensorListCPU([tensors.TensorCPU(picture) for picture in pictures], contiguous=False)


def to_torch(output):
    """The torch tensor [B, H, W, 3] that shares the memory of a pipeline's output."""
    import torch

    return torch.from_dlpack(output.as_tensor())


def decodes(record: np.ndarray, encoding: str, device: str = "cpu", device_id: int | None = None) -> bool:
    """Whether DALI turns the record (uint8, encoded bytes or raw [H, W, 3]) into a picture, on that device."""
    if encoding == "raw":
        return record.ndim == 3 and record.shape[2] == 3
    dali = _dali()

    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=device_id, exec_dynamic=True, prefetch_queue_depth=1)
    def decode_one():
        data = dali.fn.external_source(source=lambda: [record], batch=True)
        return dali.fn.decoders.image(data, device="mixed" if device == "gpu" else "cpu", output_type=dali.types.RGB)

    try:
        decode_one().run()
    except RuntimeError:
        return False
    return True


def _dali() -> ModuleType:
    try:
        import nvidia.dali
    except ImportError as error:
        raise UserError(
            "NVIDIA DALI is not installed, and decoding and augmenting need it; it runs on Linux: "
            "pip install nvidia-dali-cuda120"
        ) from error
    return nvidia.dali
