"""Losses of several labels an image at their ends: logits far out, labels of one kind, nothing known, no image."""

import pytest
import torch

from tests.losses.inputs import EXTREMES
from tests.losses.made import made_loss

LOSSES = ["asymmetric", "binary_cross_entropy", "distribution_balanced", "focal", "lsep"]


def loss_and_gradient(name, logits, labels):
    logits.requires_grad_()
    loss = made_loss(name, [9, 3, 1])(logits, labels)
    loss.backward()
    return loss, logits.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("labels", EXTREMES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_far_logits_have_a_finite_loss_and_gradient(name, labels, dtype):
    for row in ([80.0, 80.0, 80.0], [-80.0, -80.0, -80.0], [80.0, -80.0, 80.0]):
        logits = torch.tensor([row, [-x for x in row]], dtype=dtype)
        loss, gradient = loss_and_gradient(name, logits, labels)
        assert loss.dtype == torch.float32 and loss.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("labels", [torch.full((2, 3), -1, dtype=torch.int8), torch.empty((0, 3), dtype=torch.int8)])
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_known_is_no_loss(name, labels):
    loss, gradient = loss_and_gradient(name, torch.ones(labels.shape), labels)
    assert loss == 0 and not gradient.any()
