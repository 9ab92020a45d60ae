"""Empirical risk minimisation against its formulas in float64."""

import pytest
import torch
from torch import nn

from fastlt.batch import Batch
from fastlt.config import MethodConfig
from fastlt.errors import UserError
from fastlt.methods.base import Progress, TrainingSet
from fastlt.methods.erm import ERM, binary_cross_entropy

NOW = Progress(0, 1, 0.0, 1.0)


def truth(logits, labels):
    """Mean over known entries of y softplus(-x) + (1 - y) softplus(x)."""
    x, known = logits.double(), labels >= 0
    each = torch.where(labels == 1, nn.functional.softplus(-x), nn.functional.softplus(x))
    return (each * known).sum() / known.sum().clamp(min=1)


def sample(batch, classes, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (batch, classes), generator=generator, dtype=torch.int8)
    return scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("shape", [(8, 5), (1, 1), (3, 97)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient_are_those_of_the_formula(shape, dtype):
    exact, labels = sample(*shape)
    logits = exact.to(dtype).float().requires_grad_()
    reference = logits.detach().double().requires_grad_()
    loss = binary_cross_entropy(logits, labels)
    loss.backward()
    truth(reference, labels).backward()
    torch.testing.assert_close(loss.double(), truth(reference, labels), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(logits.grad.double(), reference.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("extreme", [80.0, -80.0])
def test_saturated_logits_keep_their_gradient(extreme):
    logits = torch.full((2, 2), extreme, requires_grad=True)
    labels = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    loss = binary_cross_entropy(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(40.0)
    wrong = (labels == 0) if extreme > 0 else (labels == 1)
    torch.testing.assert_close(logits.grad.abs(), wrong.float() / 4)


def test_unknown_labels_have_no_gradient_and_no_weight():
    logits = torch.tensor([[1.0, 5.0]], requires_grad=True)
    loss = binary_cross_entropy(logits, torch.tensor([[1, -1]], dtype=torch.int8))
    loss.backward()
    torch.testing.assert_close(loss, nn.functional.softplus(torch.tensor(-1.0)))
    assert logits.grad[0, 1] == 0


@pytest.mark.parametrize("labels", [torch.full((2, 3), -1, dtype=torch.int8), torch.empty((0, 3), dtype=torch.int8)])
def test_nothing_known_is_no_loss(labels):
    logits = torch.zeros(labels.shape, requires_grad=True)
    loss = binary_cross_entropy(logits, labels)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_one_label_an_image_is_one_positive_class_among_negatives():
    logits = torch.randn(4, 3)
    labels = torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(
        binary_cross_entropy(logits, labels),
        binary_cross_entropy(logits, nn.functional.one_hot(labels, 3).to(torch.int8)),
    )


def method(multi_label, **settings):
    data = TrainingSet("made", "0", ["a", "b"], [3, 1], {}, multi_label)
    return ERM(MethodConfig(**settings), nn.Flatten(), data)


def batch_of(labels):
    images = torch.randn(len(labels), 2, 1, 1)
    return Batch({"main": images}, {"main": labels}, {}, {})


def test_the_loss_follows_the_kind_of_labels():
    single, several = batch_of(torch.tensor([0, 1])), batch_of(torch.tensor([[1, 0], [1, 1]], dtype=torch.int8))
    logits = single.images["main"].flatten(1)
    torch.testing.assert_close(
        method(False)(single, NOW)["loss"], nn.functional.cross_entropy(logits, single.labels["main"])
    )
    expected = truth(several.images["main"].flatten(1), several.labels["main"]).float()
    torch.testing.assert_close(method(True)(several, NOW)["loss"], expected)
    chosen = method(False, loss="binary_cross_entropy")(single, NOW)["loss"]
    torch.testing.assert_close(chosen, binary_cross_entropy(logits, single.labels["main"]))


def test_cross_entropy_is_refused_for_several_labels():
    with pytest.raises(UserError, match="needs one label an image"):
        method(True, loss="cross_entropy")


def test_scores_are_float32_logits_whatever_the_network_computes_in():
    scores = method(False).predict(torch.randn(3, 2, 1, 1, dtype=torch.bfloat16))
    assert scores.shape == (3, 2) and scores.dtype == torch.float32
