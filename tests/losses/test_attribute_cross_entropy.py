"""Softmax inside each attribute, against its formula in float64."""

import pytest
import torch
from torch import nn

from fastlt.errors import UserError
from tests.losses.made import made_loss

ATTRIBUTES = {"neck": [0, 1, 4], "sleeve": [3, 2]}  # neither contiguous nor in order


def loss_of(attributes=ATTRIBUTES, classes=5):
    return made_loss("attribute_cross_entropy", [3] * classes, attributes=attributes)


def sample(batch=12, seed=0):
    """Logits, labels, and the positive class of each attribute and image (None: unknown)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, 5, generator=generator, dtype=torch.float64)
    labels, chosen = torch.zeros(batch, 5, dtype=torch.int8), []
    for group in ATTRIBUTES.values():
        drawn = torch.randint(-1, len(group), (batch,), generator=generator).tolist()
        chosen.append([None if d < 0 else group[d] for d in drawn])
        for image, c in enumerate(chosen[-1]):
            if c is None:
                labels[image, group] = -1
            else:
                labels[image, c] = 1
    return logits, labels, chosen


def truth(logits, chosen):
    terms = [
        logits[image, group].logsumexp(0) - logits[image, c]
        for group, column in zip(ATTRIBUTES.values(), chosen, strict=True)
        for image, c in enumerate(column)
        if c is not None
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient_are_those_of_the_formula(dtype):
    exact, labels, chosen = sample()
    logits = exact.to(dtype).requires_grad_()
    reference = logits.detach().double().requires_grad_()
    loss, expected = loss_of()(logits, labels), truth(reference, chosen)
    loss.backward()
    expected.backward()
    wide = dtype in (torch.float64, torch.float32)
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        logits.grad.double(), reference.grad, rtol=1e-5 if wide else 1e-2, atol=1e-8 if wide else 1e-5
    )


def test_an_unknown_attribute_has_no_gradient_and_no_weight():
    logits, labels, chosen = sample()
    logits.requires_grad_()
    loss_of()(logits, labels).backward()
    for group, column in zip(ATTRIBUTES.values(), chosen, strict=True):
        unknown = torch.tensor([c is None for c in column])
        assert not logits.grad[unknown][:, group].any() and logits.grad[~unknown][:, group].all()


@pytest.mark.parametrize("labels", [torch.full((2, 5), -1, dtype=torch.int8), torch.empty((0, 5), dtype=torch.int8)])
def test_nothing_known_is_no_loss(labels):
    logits = torch.zeros(labels.shape, requires_grad=True)
    loss = loss_of()(logits, labels)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize("extreme", [80.0, -80.0])
def test_saturated_logits_are_finite_and_pull_back_when_wrong(extreme):
    logits = torch.tensor([[extreme, -extreme, 0, 0, 0]], requires_grad=True)
    labels = torch.tensor([[0, 1, -1, -1, 0] if extreme > 0 else [1, 0, -1, -1, 0]], dtype=torch.int8)
    loss = loss_of()(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(160)
    assert logits.grad.abs()[0, :2].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("attributes", [{}, {"neck": [0, 1, 2]}])
def test_classes_outside_attributes_are_refused_for_nothing_would_train_them(attributes):
    with pytest.raises(UserError, match="all values of attributes"):
        loss_of(attributes)


def test_a_plain_group_is_torchs_cross_entropy():
    logits, labels = torch.randn(6, 4), torch.randint(0, 4, (6,))
    hot = nn.functional.one_hot(labels, 4).to(torch.int8)
    torch.testing.assert_close(
        loss_of({"only": [0, 1, 2, 3]}, classes=4)(logits, hot), nn.functional.cross_entropy(logits, labels)
    )
