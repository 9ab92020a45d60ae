"""Builds DALI pipelines around the graphs of `fastlt.pipelines`, and takes their output to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fastlt import augment
from fastlt.config import PipelineConfig
from fastlt.errors import UserError

Device = Literal["cpu", "gpu"]


def build(
    config: PipelineConfig,
    batch: int,
    encoding: Literal["encoded", "raw"],
    device: Device,
    device_id: int | None,
    threads: int,
    prefetch: int,
    source: Callable,
    half: bool = False,
):
    """A pipeline whose only output is float [B, size, size, 3] of `config`'s graph.

    `source(info)` is called for each batch and gives [pictures, parameter, ...], the parameters in the order of their
    sorted names. With `device="gpu"` and no `device_id` the pipeline can be serialised but not run.
    """
    fn, pipeline_def, types = _dali()
    module = augment.load(config.name)
    names = _parameter_types(module, config, types)

    def graph():
        pictures, *fed = fn.external_source(
            source=source,
            num_outputs=1 + len(names),
            batch=True,
            batch_info=True,
            dtype=[types.UINT8, *names.values()],
            layout=["HWC" if encoding == "raw" else "", *[""] * len(names)],
        )
        return module.graph(config, pictures, dict(zip(names, fed, strict=True)), device, encoding, half)

    conditional = bool(config.rand_augment or config.auto_augment)  # their operations differ from picture to picture
    define = pipeline_def(graph, enable_conditionals=conditional)
    return define(
        batch_size=batch,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=prefetch,
        exec_dynamic=True,  # its outputs own their memory, so that batches outlive the queue without a copy
    )


def to_torch(output):
    """A torch tensor that shares the memory of a pipeline's output."""
    import torch

    return torch.from_dlpack(output.as_tensor())


def decodes(record: np.ndarray, encoding: str) -> bool:
    """Whether DALI decodes this one record."""
    if encoding == "raw":
        return True
    fn, pipeline_def, types = _dali()

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    def decode():
        return fn.decoders.image(fn.external_source(lambda: [record], dtype=types.UINT8), output_type=types.RGB)

    try:
        decode().run()
    except RuntimeError:
        return False
    return True


def _parameter_types(module, config: PipelineConfig, types) -> dict:
    """DALI's type of each parameter, in the order in which they are fed."""
    sample = module.parameters(config, 0, np.zeros(1, np.int64), np.full((1, 2), config.size, np.int32))
    known = {np.dtype(np.int32): types.INT32, np.dtype(np.float32): types.FLOAT}
    return {name: known[sample[name].dtype] for name in sorted(sample)}


def _dali():
    try:
        from nvidia.dali import fn, pipeline_def, types
    except ImportError as error:
        raise UserError(
            "NVIDIA DALI is not installed, and decoding and augmenting need it; it runs on Linux: "
            "pip install nvidia-dali-cuda120"
        ) from error
    return fn, pipeline_def, types
