"""Asymmetric loss against its formula in float64."""

from dataclasses import replace

import pytest
import torch

from tests.losses.inputs import many_labels
from tests.losses.made import BEGINNING, made_loss


def asymmetric(logits, labels):
    return made_loss("asymmetric", [3] * logits.shape[1])(logits, labels)


def truth(logits, labels, positive=0.0, negative=4.0, margin=0.05):
    """Of each entry, 0 where unknown: -(1-p)^positive log p or -q^negative log(1-q) with q = max(p - margin, 0)."""
    p = logits.sigmoid()
    q = (p - margin).clamp(min=0)
    each = torch.where(labels == 1, -((1 - p) ** positive) * p.log(), -(q**negative) * (1 - q).log())
    return each * (labels >= 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gamma_positive": 1.0, "gamma_negative": 2.0, "margin": 0.2},
        {"gamma_positive": 3.0, "gamma_negative": 3.0, "margin": 0.0},
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradient_are_those_of_the_formula(options, reduction):
    logits, labels = many_labels(6, 9)
    ours, exact = logits.float().requires_grad_(), logits.clone().requires_grad_()
    formula = {name.removeprefix("gamma_"): value for name, value in options.items()}
    expected = truth(exact, labels, **formula).sum() / (1 if reduction == "sum" else (labels >= 0).sum())
    loss = made_loss("asymmetric", [3] * 9, reduction=reduction, **options)(ours, labels)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_a_negative_below_the_margin_has_neither_loss_nor_gradient():
    logits = torch.tensor([[-3.0, -2.0]], requires_grad=True)  # probabilities .047 and .119
    loss = asymmetric(logits, torch.tensor([[0, 0]], dtype=torch.int8))
    loss.backward()
    assert loss > 0 and logits.grad[0, 0] == 0 and logits.grad[0, 1] > 0


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_equal_gammas_without_a_margin_are_focal_loss(gamma):
    logits, labels = many_labels(5, 4)
    equal = made_loss("asymmetric", [3] * 4, gamma_positive=gamma, gamma_negative=gamma, margin=0)
    torch.testing.assert_close(equal(logits, labels), made_loss("focal", [3] * 4, gamma=gamma)(logits, labels))


def test_the_sum_over_a_batch_is_the_average_of_what_its_parts_give():
    logits, labels = many_labels(6, 9)
    loss = made_loss("asymmetric", [3] * 9, reduction="sum")
    in_parts = replace(BEGINNING, parts=2)
    parts = [loss(logits[half], labels[half], in_parts) for half in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(sum(parts) / 2, loss(logits, labels))


def test_a_hopeless_positive_still_has_its_whole_gradient():
    """log(max(p, 1e-8)) would have none from x = -18 on."""
    logits = torch.full((1, 1), -80.0, requires_grad=True)
    asymmetric(logits, torch.ones((1, 1), dtype=torch.int8)).backward()
    assert logits.grad.item() == -1
