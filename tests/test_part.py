"""What is drawn for an image depends on where it stands and on the image, not on what stands beside it."""

import numpy as np

from fastlt.batch import StreamSpec
from fastlt.config import PipelineConfig
from fastlt.part import Part

COUNT = 50
RECIPE = PipelineConfig(name="photometric", size=32, cutout=8, color_jitter={}, vertical_flip=0.5)
MEMBERS = np.array([0, 20, COUNT]), np.arange(COUNT)


class Records:
    attributes: dict = {}

    def __len__(self):
        return COUNT

    def shapes(self, indices):
        return np.stack([20 + indices, 70 - indices], axis=1).astype(np.int32)


def part_of(name="main", batch=12, **spec):
    return Part(name, StreamSpec(**spec), RECIPE, Records(), MEMBERS, batch, seed=3)


def test_what_is_drawn_fits_the_image_that_is_shown_instead():
    own, position = part_of(), np.arange(24, 36)
    wanted = own.stream.indices(24, 12)
    shown = wanted.copy()
    shown[4] = (shown[4] + 1) % COUNT
    (before,), (after,) = own.draw(position, wanted), own.draw(position, shown)
    same = np.arange(12) != 4
    assert all(np.array_equal(before[name][same], after[name][same]) for name in before)
    assert not np.array_equal(before["window_shape"][4], after["window_shape"][4])


def test_rows_of_several_steps_keep_their_shape():
    own, position = part_of(views=2), np.arange(12).reshape(3, 4)
    index = own.stream.indices(0, 12).reshape(3, 4)
    for together, flat in zip(own.draw(position, index), own.draw(position.ravel(), index.ravel()), strict=True):
        for name, rows in together.items():
            assert rows.shape[:2] == (3, 4) and np.array_equal(rows.reshape(flat[name].shape), flat[name])
