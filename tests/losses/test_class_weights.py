"""Weights of classes against their formulas, and what losses make of them."""

import pytest
import torch
from torch import nn

from fastlt.errors import UserError
from fastlt.progress import Progress
from tests.losses.inputs import many_labels, one_label
from tests.losses.made import made_loss

COUNTS = [500, 60, 7, 1]
FORMULAS = {
    "inverse": lambda n: 1 / n,
    "square_root": lambda n: n**-0.5,
    "effective_number": lambda n: (1 - 0.9999) / (1 - 0.9999**n),
}


def truth(kind, counts):
    """The formula's weights, then scaled to sum to the number of classes."""
    raw = torch.tensor([FORMULAS[kind](n) for n in counts], dtype=torch.float64)
    return raw * len(counts) / raw.sum()


def at(step, steps=100):
    return Progress(step, steps, epoch=step / 10, epochs=steps / 10)


@pytest.mark.parametrize("kind", FORMULAS)
def test_weighted_cross_entropy_is_torchs_with_the_formulas_weights(kind):
    logits, labels = one_label(9, 4)
    logits.requires_grad_()
    loss = made_loss("cross_entropy", COUNTS, multi_label=False, weighting={"kind": kind})(logits, labels)
    expected = nn.functional.cross_entropy(logits, labels, weight=truth(kind, COUNTS))
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    grads = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", FORMULAS)
def test_weighted_binary_cross_entropy_weighs_the_whole_column_of_a_class(kind):
    logits, labels = many_labels(9, 4)
    known = labels >= 0
    each = nn.functional.binary_cross_entropy_with_logits(logits, (labels == 1).double(), reduction="none")
    expected = (each * truth(kind, COUNTS))[known].sum() / known.sum()
    loss = made_loss("binary_cross_entropy", COUNTS, weighting={"kind": kind})(logits, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def test_the_rarest_images_decide_also_where_all_weights_of_a_batch_are_small():
    """The sum of weights by which the loss is divided may be far below 1."""
    loss = made_loss("cross_entropy", [1_000_000, 1], multi_label=False, weighting={"kind": "inverse"})
    logits = torch.tensor([[0.0, 1.0]])
    plain = nn.functional.cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(loss(logits, torch.tensor([0])), plain)


def test_deferred_weights_begin_at_the_stated_step():
    logits, labels = one_label(9, 4)
    deferred = made_loss(
        "cross_entropy", COUNTS, multi_label=False, weighting={"kind": "effective_number", "from_share": 0.8}
    )
    plain = nn.functional.cross_entropy(logits, labels)
    weighted = nn.functional.cross_entropy(logits, labels, weight=truth("effective_number", COUNTS))
    for step, expected in ((0, plain), (79, plain), (80, weighted), (99, weighted)):
        torch.testing.assert_close(deferred(logits, labels, at(step)), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(deferred(logits, labels, at(160, 200)), weighted)  # epoch 160 of 200, as LDAM-DRW
    torch.testing.assert_close(deferred(logits, labels, at(4, 5)), weighted)


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_class_without_images_weighs_nothing_and_the_others_keep_the_mean_one(kind):
    logits, labels = many_labels(9, 5)
    logits.requires_grad_()
    weighting = {"kind": kind}
    loss = made_loss("binary_cross_entropy", [*COUNTS, 0], weighting=weighting)(logits, labels)
    loss.backward()
    assert loss.isfinite() and not logits.grad[:, 4].any() and logits.grad[:, :4].any()
    others = made_loss("binary_cross_entropy", COUNTS, weighting=weighting)(logits[:, :4], labels[:, :4])
    known = (labels >= 0).sum()
    torch.testing.assert_close(loss * known, others * (labels[:, :4] >= 0).sum())


def test_beta_zero_is_no_weighting_and_beta_one_is_refused():
    logits, labels = one_label(9, 4)
    none = made_loss("cross_entropy", COUNTS, multi_label=False, weighting={"kind": "effective_number", "beta": 0})
    torch.testing.assert_close(none(logits, labels), nn.functional.cross_entropy(logits, labels))
    with pytest.raises(ValueError, match="less than 1"):
        made_loss("cross_entropy", COUNTS, multi_label=False, weighting={"kind": "effective_number", "beta": 1})


def test_a_softmax_loss_is_refused_where_images_have_several_labels():
    with pytest.raises(UserError, match="loss cross_entropy needs one label an image"):
        made_loss("cross_entropy", COUNTS, multi_label=True, weighting={"kind": "inverse"})
