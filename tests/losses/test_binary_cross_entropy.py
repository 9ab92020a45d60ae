"""Sigmoid binary cross-entropy against its formula in float64."""

import pytest
import torch
from torch import nn

from tests.losses.made import made_loss


def binary_cross_entropy(logits, labels):
    return made_loss("binary_cross_entropy", [3] * logits.shape[1])(logits, labels)


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


def test_one_label_an_image_is_one_positive_class_among_negatives():
    logits = torch.randn(4, 3)
    labels = torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(
        binary_cross_entropy(logits, labels),
        binary_cross_entropy(logits, nn.functional.one_hot(labels, 3).to(torch.int8)),
    )
