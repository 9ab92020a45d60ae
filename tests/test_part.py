"""What a step holds does not depend on how many steps were worked out together, nor on the number of ranks."""

import numpy as np
import pytest

from fastlt import part
from fastlt.batch import StreamSpec
from fastlt.config import PipelineConfig, StreamConfig
from fastlt.part import Part

BATCH, COUNT = 12, 50
RECIPE = PipelineConfig(name="photometric", size=32, cutout=8, color_jitter={}, vertical_flip=0.5)


class Records:
    attributes: dict = {}

    def __len__(self):
        return COUNT

    def shapes(self, indices):
        return np.stack([20 + indices, 70 - indices], axis=1).astype(np.int32)


def part_of(**spec):
    members = np.array([0, 20, COUNT]), np.arange(COUNT)
    return Part("main", StreamSpec(**spec), RECIPE, Records(), members, BATCH, seed=3)


SPECS = [
    {"views": 2},
    {"stream": StreamConfig(sampling="class_balanced")},
    {"stream": StreamConfig(sampling="sequential")},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_step_is_what_it_is_alone(spec, ranks, monkeypatch):
    together = [[part_of(**spec).rows(step, rank, ranks) for rank in range(ranks)] for step in (7, 3, 400)]
    monkeypatch.setattr(part, "AT_ONCE", 1)
    for step, found in zip((7, 3, 400), together, strict=True):
        alone = part_of(**spec).rows(step, 0, 1)
        assert alone.position.tolist() == list(range(step * BATCH, (step + 1) * BATCH))
        assert np.array_equal(np.concatenate([rows.position for rows in found]), alone.position)
        assert np.array_equal(np.concatenate([rows.wanted for rows in found]), alone.wanted)
        for view, drawn in enumerate(alone.drawn):
            for name, values in drawn.items():
                assert np.array_equal(np.concatenate([rows.drawn[view][name] for rows in found]), values)


def test_what_is_drawn_fits_the_image_that_is_shown_instead():
    own = part_of()
    rows = own.rows(2, 0, 1)
    shown = rows.wanted.copy()
    shown[4] = (shown[4] + 1) % COUNT
    (before,), (after,) = rows.drawn, own.draw(rows.position, shown)
    same = np.arange(BATCH) != 4
    assert all(np.array_equal(before[name][same], after[name][same]) for name in before)
    assert not np.array_equal(before["window_shape"][4], after["window_shape"][4])
