"""DALI as its documentation has it: its own file reader, random crop, resize and normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastlt.bench.peers import Setting

from fastlt import dali as ours

NEEDS = "nvidia.dali"
PREFETCH = 2


@contextmanager
def batches(setting: Setting) -> Iterator[Iterator]:
    from nvidia.dali import fn, pipeline_def, types

    config, on_gpu = setting.pipeline, torch.cuda.is_available()

    @pipeline_def(
        batch_size=setting.batch,
        num_threads=setting.cores,
        device_id=0 if on_gpu else None,
        prefetch_queue_depth=PREFETCH,
        exec_dynamic=True,
    )
    def graph():
        encoded, _ = fn.readers.file(files=[str(path) for path in setting.pictures.files], random_shuffle=True)
        window = {"random_area": list(config.scale), "random_aspect_ratio": list(config.ratio)}
        image = fn.decoders.image_random_crop(
            encoded, device="mixed" if on_gpu else "cpu", output_type=types.RGB, **window
        )
        return fn.crop_mirror_normalize(
            fn.resize(image, size=[config.size, config.size], interp_type=types.INTERP_LINEAR),
            mirror=fn.random.coin_flip(probability=config.horizontal_flip),
            mean=[255 * value for value in config.mean],
            std=[255 * value for value in config.std],
            dtype=types.FLOAT,
            output_layout="HWC",
        )

    pipeline = graph()
    yield (ours.to_torch(pipeline.run()[0]).permute(0, 3, 1, 2) for _ in iter(int, 1))
