"""Records reach DALI as they are, without a copy, and stay alive until they were used."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from fastlt import dali

BATCH, DEPTH, RUNS = 4, 3, 12


def picture(number: int) -> np.ndarray:
    rows = np.arange(number % 5 + 1, dtype=np.uint8)[:, None, None]
    return np.broadcast_to(rows + number, (len(rows), 7, 3)).copy()


@pytest.fixture
def pipeline_of():
    from nvidia.dali import fn, pipeline_def, types

    def build(source):
        @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, prefetch_queue_depth=DEPTH, exec_dynamic=True)
        def graph():
            data = fn.external_source(source=source, batch=True, batch_info=True, no_copy=True, dtype=types.UINT8)
            return data, data + np.uint8(1)

        return graph()

    return build


@pytest.mark.parametrize("alike", [False, True], ids=["in a list", "in one array"])
def test_what_nobody_else_holds_is_whole_when_it_comes_out_and_freed_later(pipeline_of, alike):
    held = []

    def batch(run):
        numbers = range(run * BATCH, (run + 1) * BATCH)
        return [picture(number % 40 * 5 if alike else number) for number in numbers]

    def source(info):
        pictures = np.stack(batch(info.iteration)) if alike else batch(info.iteration)
        held.append(weakref.ref(pictures if alike else pictures[0]))
        return dali.to_dali(pictures)

    pipeline = pipeline_of(source)
    for run in range(RUNS):
        gc.collect()
        rubbish = [np.full((5, 7, 3), 255, np.uint8) for _ in range(100)]  # takes the place of what was freed
        same, more = pipeline.run()
        for row in range(BATCH):
            expected = batch(run)[row]
            assert np.array_equal(same.at(row), expected) and np.array_equal(more.at(row), expected + np.uint8(1))
        del rubbish
    del pipeline, same, more
    gc.collect()
    assert not any(reference() is not None for reference in held)


def test_arrays_that_may_not_be_written_are_fed_too(pipeline_of):
    record = np.arange(9, dtype=np.uint8)
    record.flags.writeable = False
    same, _ = pipeline_of(lambda info: dali.to_dali([record] * BATCH)).run()
    assert all(np.array_equal(same.at(row), record) for row in range(BATCH))
