"""Scores of a method's parts, each beside the whole, and of mirrored pictures."""

import numpy as np
import pytest
import torch

from fastlt import config as run_config
from fastlt.data.shards import ShardSet
from fastlt.distributed import Ranks
from fastlt.evaluate.scoring import score, score_parts
from fastlt.methods.base import Method
from fastlt.models.averaging import mean_logits, mean_probabilities

ALONE = Ranks(0, 1, torch.device("cpu"))


class Halves(Method):
    """Scores the left half of a picture and the right one, and their difference."""

    def forward(self, batch, progress):
        raise AssertionError("evaluation does not train")

    def predict(self, images):
        return self.predict_parts(images)[0]

    def predict_parts(self, images):
        left, right = (half.mean((1, 2, 3))[:, None] for half in images.chunk(2, dim=3))
        return torch.cat([left - right, left], 1), {"left": torch.cat([left, left], 1), "right": right.expand(-1, 2)}


@pytest.fixture
def records(digits):
    with ShardSet(digits / "val") as opened:
        yield opened


def config_of(data, **values):
    settings = [f"{key}={value}" for key, value in values.items()]
    return run_config.load("digits/erm", [f"data.path={data}", *settings])[0]


def test_parts_are_scored_image_by_image_with_the_whole(digits, records):
    whole, parts, rows = score_parts(Halves(), records, config_of(digits, **{"train.evaluate_batch": 7}), ALONE)
    assert list(parts) == ["left", "right"] and rows.tolist() == list(range(45))
    np.testing.assert_allclose(whole[:, 0], parts["left"][:, 0] - parts["right"][:, 0], atol=1e-5)
    assert np.ptp(parts["left"][:, 0]) > 0.01
    np.testing.assert_array_equal(score(Halves(), records, config_of(digits), ALONE)[0].shape, whole.shape)


def test_the_flip_test_is_the_mean_over_a_picture_and_its_mirror(digits, records):
    plain, parts, _ = score_parts(Halves(), records, config_of(digits), ALONE)
    flipped, of_flipped, _ = score_parts(Halves(), records, config_of(digits, **{"train.evaluate_flip": "true"}), ALONE)
    assert abs(plain[:, 0]).max() > 0.01
    np.testing.assert_allclose(flipped[:, 0], 0, atol=1e-5)
    middle = (parts["left"] + parts["right"]) / 2
    np.testing.assert_allclose(of_flipped["left"], middle, atol=1e-5)
    np.testing.assert_allclose(of_flipped["right"], middle, atol=1e-5)


def test_the_mean_probability_is_given_as_its_logit():
    logits = 5 * torch.randn(3, 4, 6, dtype=torch.float64)
    expected = torch.logit(torch.sigmoid(logits).mean(0))
    torch.testing.assert_close(mean_probabilities(logits).double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mean_logits(logits).double(), logits.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("extreme", [200.0, -200.0])
def test_the_mean_of_extreme_probabilities_is_finite(extreme):
    found = mean_probabilities([torch.tensor([[extreme]]), torch.tensor([[extreme]])])
    assert found.item() == pytest.approx(extreme)
