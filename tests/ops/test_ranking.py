"""The log-sum-exp pairwise loss against its definition over pairs."""

import math

import pytest
import torch
from loss_cases import assert_same, normal, targets_of

from fastlt.ops import lsep


def over_pairs(logits, targets):
    """Li, Song, Luo 2017, eq. 4, row by row and pair by pair."""
    losses = []
    for x, y in zip(logits, targets, strict=True):
        pairs = [(v - u).exp() for v in x[y == 0] for u in x[y == 1]]
        losses.append(torch.stack([*pairs, x.new_ones(())]).sum().log() if pairs else 0 * x.sum())
    return torch.stack(losses)


@pytest.fixture
def logits():
    return normal((7, 12), torch.float64, torch.Generator().manual_seed(1), 2.0)


@pytest.fixture
def targets():
    return targets_of((7, 12), torch.Generator().manual_seed(2))


@pytest.mark.parametrize("reduction", ["row", "sum", "mean"])
def test_it_is_the_sum_over_all_pairs(backend, logits, targets, reduction):
    found, wanted = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    upstream = torch.linspace(0.5, 2, 7).double() if reduction == "row" else torch.tensor(1.5).double()
    rows = over_pairs(wanted, targets)
    wanted_loss = {"row": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]
    wanted_loss.backward(upstream)
    loss = lsep(found, targets, reduction=reduction)
    loss.backward(upstream)
    assert_same({"loss": loss.detach(), "logits": found.grad}, {"loss": wanted_loss.detach(), "logits": wanted.grad})


@pytest.mark.parametrize("only", [1, 0, -1])
def test_a_row_that_lacks_a_positive_or_a_negative_has_no_loss_and_no_gradient(backend, logits, targets, only):
    targets[2] = only
    targets[3] = torch.where(targets[3] == 1 - only, -1, targets[3])
    x = logits.float().requires_grad_()
    loss = lsep(x, targets, reduction="row")
    loss.sum().backward()
    lacking = ~((targets == 1).any(1) & (targets == 0).any(1))
    assert lacking[2]
    assert (loss[lacking] == 0).all()
    assert (x.grad[lacking] == 0).all()
    assert (loss[~lacking] > 0).all()


def test_unknown_entries_change_nothing(backend, logits, targets):
    other = torch.where(targets < 0, logits + 50, logits)
    assert torch.equal(lsep(other, targets), lsep(logits, targets))


def test_the_gradient_of_a_row_sums_to_zero(backend, logits, targets):
    """For the loss depends on differences only."""
    x = logits.requires_grad_()
    lsep(x, targets, reduction="sum").backward()
    torch.testing.assert_close(x.grad.sum(1), torch.zeros(7, dtype=torch.float64))


def test_a_constant_added_to_a_row_changes_nothing(backend, logits, targets):
    torch.testing.assert_close(lsep(logits + 30, targets), lsep(logits, targets))


def test_badly_ranked_rows_do_not_overflow(backend):
    x = torch.tensor([[-3000.0, 3000.0], [3000.0, -3000.0]], requires_grad=True)
    loss = lsep(x, torch.tensor([[1, 0], [1, 0]], dtype=torch.int8), reduction="row")
    loss.sum().backward()
    assert loss.tolist() == [6000.0, 0.0]
    assert x.grad.tolist() == [[-1.0, 1.0], [0.0, 0.0]]


def test_two_classes_are_a_logistic_loss_of_the_difference(backend):
    x = torch.tensor([[0.3, 1.1]], requires_grad=True)
    loss = lsep(x, torch.tensor([[1, 0]], dtype=torch.int8))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.8)), rel=1e-6)
