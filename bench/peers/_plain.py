"""The baseline's loader with one of its decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastlt.bench.baseline import Form, PlainPictures, plain_batches
from fastlt.bench.peers import Setting

from fastlt.streams import Uniform


def batches_of(form: Form) -> Callable:
    @contextmanager
    def batches(setting: Setting) -> Iterator[Iterator]:
        stream = Uniform(len(setting.pictures.files), key=1)
        dataset = PlainPictures(setting.pictures, stream, setting.pipeline, 2, form)
        with plain_batches(dataset, setting.batch, setting.cores) as flow:
            yield (images for images, _ in flow)

    return batches
