"""Focal loss against its formula in float64, and against what it becomes at its ends."""

import pytest
import torch
from torch import nn

from fastlt.errors import UserError
from tests.losses.inputs import many_labels, one_label
from tests.losses.made import made_loss


def focal(logits, labels, **options):
    return made_loss("focal", [3] * logits.shape[1], multi_label=labels.ndim == 2, **options)(logits, labels)


def truth(logits, labels, gamma, alpha=None):
    """Mean over known entries of -a (1 - p)^gamma log p, p the probability of the right answer."""
    p = torch.where(labels == 1, logits.sigmoid(), (-logits).sigmoid())
    a = 1.0 if alpha is None else torch.where(labels == 1, alpha, 1 - alpha)
    return (-a * (1 - p) ** gamma * p.log())[labels >= 0].mean()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_is_the_formula_gradient_through_the_focus_included(gamma, alpha):
    logits, labels = many_labels(6, 9)
    ours, exact = logits.float().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = focal(ours, labels, gamma=gamma, alpha=alpha), truth(exact, labels, gamma, alpha)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_softmax_focal_is_the_formula(gamma):
    logits, labels = one_label(7, 5)
    ours, exact = logits.float().requires_grad_(), logits.clone().requires_grad_()
    p = exact.softmax(1)[torch.arange(7), labels]
    expected = (-((1 - p) ** gamma) * p.log()).mean()
    loss = focal(ours, labels, gamma=gamma)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-7)


def test_one_label_an_image_is_softmax_unless_the_recipe_says_sigmoid():
    logits, labels = one_label(4, 3)
    torch.testing.assert_close(focal(logits, labels, gamma=0), nn.functional.cross_entropy(logits, labels))
    hot = nn.functional.one_hot(labels, 3).to(torch.int8)
    torch.testing.assert_close(focal(logits, labels, kind="sigmoid"), focal(logits, hot))


def test_without_gamma_it_is_binary_cross_entropy():
    logits, labels = many_labels(4, 5)
    torch.testing.assert_close(
        focal(logits, labels, gamma=0), made_loss("binary_cross_entropy", [3] * 5)(logits, labels)
    )


def test_class_balanced_focal_weights_columns_and_for_one_label_images():
    """Weights (1 - b) / (1 - b^n), scaled to the mean 1 over classes that have images."""
    counts, options = [100, 10, 1, 0], {"gamma": 1.0, "weighting": {"kind": "effective_number", "beta": 0.9}}
    raw = torch.tensor([0.1 / (1 - 0.9**n) for n in counts[:3]] + [0.0], dtype=torch.float64)
    weights = 3 * raw / raw.sum()
    logits, labels = many_labels(6, 4)
    p = torch.where(labels == 1, logits.sigmoid(), (-logits).sigmoid())
    expected = (-weights * (1 - p) * p.log())[labels >= 0].mean()
    torch.testing.assert_close(made_loss("focal", counts, **options)(logits, labels), expected, rtol=1e-6, atol=0)

    logits, labels = one_label(6, 4)
    labels[labels == 3] = 0  # without images
    p = logits.softmax(1)[torch.arange(6), labels]
    expected = (-weights[labels] * (1 - p) * p.log()).sum() / weights[labels].sum()
    found = made_loss("focal", counts, multi_label=False, **options)(logits, labels)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_hopeless_and_a_certain_image_have_a_finite_softmax_gradient(gamma):
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0, 0]), gamma=gamma)
    loss.backward()
    assert loss.item() == pytest.approx(80.0)  # -log p = 160 for the one, 0 for the other
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


def test_an_empty_batch_of_one_label_an_image_is_no_loss():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = focal(logits, torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize(
    ("multi_label", "options", "message"),
    [
        (True, {"kind": "softmax"}, "needs one label an image"),
        (False, {"alpha": 0.25}, "set method.loss.kind=sigmoid"),
    ],
)
def test_settings_that_mean_nothing_are_refused(multi_label, options, message):
    with pytest.raises(UserError, match=message):
        made_loss("focal", [3, 3], multi_label=multi_label, **options)
