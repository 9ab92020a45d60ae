"""Empirical risk minimisation: which loss it takes, and what it predicts."""

import pytest
import torch
from torch import nn

from fastlt.batch import Batch
from fastlt.errors import UserError
from fastlt.methods.erm import ERM, Options
from fastlt.progress import Progress, TrainingSet

NOW = Progress(0, 1, 0.0, 1.0)


def method(multi_label, **settings):
    data = TrainingSet("made", "0", ["a", "b"], [3, 1], {}, multi_label, images=4)
    return ERM(Options(**settings), nn.Flatten(), data)


def batch_of(labels):
    images = torch.randn(len(labels), 2, 1, 1)
    return Batch({"main": images}, {"main": labels}, {}, {})


def test_the_loss_follows_the_kind_of_labels():
    single, several = batch_of(torch.tensor([0, 1])), batch_of(torch.tensor([[1, 0], [1, 1]], dtype=torch.int8))
    logits = single.images["main"].flatten(1)
    torch.testing.assert_close(
        method(False)(single, NOW)["loss"], nn.functional.cross_entropy(logits, single.labels["main"])
    )
    both = several.images["main"].flatten(1)
    expected = nn.functional.binary_cross_entropy_with_logits(both, several.labels["main"].float())
    torch.testing.assert_close(method(True)(several, NOW)["loss"], expected)
    chosen = method(False, loss="binary_cross_entropy")(single, NOW)["loss"]
    expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.eye(2))
    torch.testing.assert_close(chosen, expected)


def test_cross_entropy_is_refused_for_several_labels():
    with pytest.raises(UserError, match="needs one label an image"):
        method(True, loss="cross_entropy")


def test_scores_are_float32_logits_whatever_the_network_computes_in():
    scores = method(False).predict(torch.randn(3, 2, 1, 1, dtype=torch.bfloat16))
    assert scores.shape == (3, 2) and scores.dtype == torch.float32
