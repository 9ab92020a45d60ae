"""Scores of a split: every image once, in its own place, and none for a picture that does not decode."""

import numpy as np
import pytest
import torch

from fastlt import config as run_config
from fastlt.data.shards import ShardSet
from fastlt.distributed import Ranks
from fastlt.evaluate.scoring import score
from fastlt.methods.base import Method

ALONE = Ranks(0, 1, torch.device("cpu"))


class Brightness(Method):
    """Scores a picture by its mean and its first pixel."""

    def forward(self, batch, progress):
        raise AssertionError("evaluation does not train")

    def predict(self, images):
        return torch.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0]], 1)


@pytest.fixture
def records(digits):
    with ShardSet(digits / "val") as opened:
        yield opened


def config_of(data, batch):
    return run_config.load("digits/erm", [f"data.path={data}", f"train.evaluate_batch={batch}"])[0]


@pytest.mark.parametrize("batch", [7, 45, 1000])
def test_every_image_is_scored_once_in_its_own_place(digits, records, batch):
    method = Brightness().train()
    scores, rows = score(method, records, config_of(digits, batch), ALONE)
    assert method.training
    assert rows.tolist() == list(range(len(records)))
    single = score(method, records, config_of(digits, 1), ALONE)[0]
    np.testing.assert_allclose(scores, single, atol=1e-5)
    assert len(np.unique(scores[:, 0])) > 30


def test_progress_is_told_up_to_the_last_image(digits, records):
    told = []
    score(Brightness(), records, config_of(digits, 20), ALONE, lambda done, total: told.append((done, total)))
    assert told == [(20, 45), (40, 45), (45, 45)]


def test_a_picture_that_does_not_decode_is_left_out_not_scored_by_another(digits, records, monkeypatch):
    whole = score(Brightness(), records, config_of(digits, 16), ALONE)[0]
    read = ShardSet.read

    def torn(self, indices):
        return [
            row[: len(row) // 3] if i in (5, 44) else row for i, row in zip(indices, read(self, indices), strict=True)
        ]

    monkeypatch.setattr(ShardSet, "read", torn)
    scores, rows = score(Brightness(), records, config_of(digits, 16), ALONE)
    assert rows.tolist() == [i for i in range(45) if i not in (5, 44)]
    np.testing.assert_allclose(scores, whole[rows], atol=1e-5)
