"""Balanced softmax, logit adjustment and LDAM against independent writings of their formulas in float64."""

import pytest
import torch
from torch import nn

from fastlt import losses
from fastlt.errors import UserError
from fastlt.progress import Progress, TrainingSet
from tests.losses.inputs import EXTREMES, many_labels, one_label
from tests.losses.made import made_loss

COUNTS = [500, 60, 7, 1]
N = torch.tensor(COUNTS, dtype=torch.float64)
LOSSES = ("balanced_softmax", "logit_adjustment", "ldam")


def made(name, counts=COUNTS, multi_label=False, **options):
    return made_loss(name, counts, multi_label=multi_label, **options)


def balanced_softmax(logits, labels):
    """-log(n_y e^x_y / sum_j n_j e^x_j)"""
    odds = N * logits.exp()
    return -(odds[torch.arange(len(labels)), labels] / odds.sum(1)).log().mean()


def logit_adjusted(logits, labels, tau):
    """log(1 + sum over j != y of (pi_j / pi_y)^tau e^(x_j - x_y))"""
    pi = N / N.sum()
    rows = []
    for x, y in zip(logits, labels.tolist(), strict=True):
        others = [(pi[j] / pi[y]) ** tau * (x[j] - x[y]).exp() for j in range(len(pi)) if j != y]
        rows.append(torch.log1p(sum(others)))
    return torch.stack(rows).mean()


def ldam(cosines, labels, max_margin=0.5, scale=30.0):
    """-log e^(s (x_y - m_y)) / (e^(s (x_y - m_y)) + sum over j != y of e^(s x_j)), m_c = m (n_min / n_c)^(1/4)"""
    rows = []
    for x, y in zip(cosines, labels.tolist(), strict=True):
        own = scale * (x[y] - max_margin * (min(COUNTS) / COUNTS[y]) ** 0.25)
        others = torch.stack([scale * x[j] for j in range(len(COUNTS)) if j != y])
        rows.append(torch.logaddexp(own, others.logsumexp(0)) - own)
    return torch.stack(rows).mean()


TRUTHS = {
    ("balanced_softmax", ()): (balanced_softmax, 3.0),
    ("logit_adjustment", ()): (lambda x, y: logit_adjusted(x, y, 1.0), 3.0),
    ("logit_adjustment", (("tau", 0.6),)): (lambda x, y: logit_adjusted(x, y, 0.6), 3.0),
    ("ldam", ()): (ldam, 0.4),
    ("ldam", (("max_margin", 0.2), ("scale", 10.0))): (lambda x, y: ldam(x, y, 0.2, 10.0), 0.4),
}


@pytest.mark.parametrize("case", TRUTHS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient_are_those_of_the_formula(case, dtype):
    (name, options), (truth, spread) = case, TRUTHS[case]
    exact, labels = one_label(16, 4, scale=spread)
    ours = exact.to(dtype).requires_grad_()
    exact = ours.detach().double().requires_grad_()
    loss, true = made(name, **dict(options))(ours, labels), truth(exact, labels)
    loss.backward()
    true.backward()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    sharp = {torch.float64: 1e-9, torch.float32: 1e-5}.get(dtype, 1e-5)
    torch.testing.assert_close(loss.double(), true, rtol=sharp, atol=sharp)
    coarse = {torch.bfloat16: 8e-3, torch.float16: 1e-3}.get(dtype, sharp)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=coarse, atol=coarse * 0.05)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [80.0, -80.0])
def test_extreme_logits_have_a_finite_loss_and_gradient(name, dtype, size):
    logits = torch.full((4, 4), size, dtype=dtype).diagonal_scatter(torch.full((4,), -size, dtype=dtype))
    logits.requires_grad_()
    loss = made(name)(logits, torch.arange(4))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    assert (size > 0) == bool(logits.grad.abs().max() > 0.2)  # wrong by far, or right by far


@pytest.mark.parametrize("name", [*LOSSES, "cross_entropy"])
def test_an_empty_batch_is_no_loss(name):
    logits = torch.zeros((0, 4), requires_grad=True)
    loss = made(name)(logits, torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment"])
def test_a_class_without_training_images_is_left_out_of_the_softmax(name):
    logits, labels = one_label(8, 4)
    wider = torch.cat([logits, torch.full((8, 1), 50.0)], dim=1).requires_grad_()
    loss = made(name, [*COUNTS, 0])(wider, labels)
    loss.backward()
    torch.testing.assert_close(loss, made(name)(logits, labels))
    assert not wider.grad[:, 4].any() and wider.grad.isfinite().all()


def test_ldam_of_a_class_without_training_images_is_finite_and_takes_no_margin_from_the_others():
    logits, labels = one_label(8, 4, scale=0.4)
    wider = torch.cat([logits, torch.full((8, 1), -100.0)], dim=1)
    torch.testing.assert_close(made("ldam", [*COUNTS, 0])(wider, labels), made("ldam")(logits, labels))


@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment"])
def test_equal_counts_make_it_plain_cross_entropy(name):
    logits, labels = one_label(8, 4)
    torch.testing.assert_close(made(name, [9] * 4)(logits, labels), nn.functional.cross_entropy(logits, labels))


def test_logit_adjustment_with_tau_one_is_balanced_softmax():
    logits, labels = one_label(8, 4)
    torch.testing.assert_close(made("logit_adjustment")(logits, labels), made("balanced_softmax")(logits, labels))


def test_ldam_without_margins_is_cross_entropy_of_scaled_cosines():
    cosines, labels = one_label(8, 4, scale=0.4)
    plain = nn.functional.cross_entropy(30 * cosines, labels)
    torch.testing.assert_close(made("ldam", max_margin=0)(cosines, labels), plain)


def test_ldam_drw_weighs_the_images_of_a_class_from_the_stated_step_on():
    cosines, labels = one_label(8, 4, scale=0.4)
    deferred = made("ldam", weighting={"kind": "effective_number", "from_share": 0.8})
    raw = (1 - 0.9999) / (1 - 0.9999**N)
    margins = 0.5 * (1 / N) ** 0.25
    shifted = 30 * (cosines - nn.functional.one_hot(labels, 4) * margins)
    weighted = nn.functional.cross_entropy(shifted, labels, weight=raw * 4 / raw.sum())
    for step, expected in ((159, ldam(cosines, labels)), (160, weighted)):
        now = Progress(step, 200, float(step), 200.0)
        torch.testing.assert_close(deferred(cosines, labels, now), expected, rtol=1e-9, atol=0)


def test_ldam_with_several_labels_takes_each_class_on_its_own_with_a_margin_for_its_positives():
    cosines, labels = many_labels(8, 4, scale=0.4)
    cosines.requires_grad_()
    margins = 0.5 * (1 / N) ** 0.25
    t = torch.where(labels == 1, -30 * (cosines - margins), 30 * cosines)
    expected = nn.functional.softplus(t, threshold=1e9)[labels >= 0].mean()
    loss = made("ldam", multi_label=True)(cosines, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    grads = [torch.autograd.grad(value, cosines)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("labels", EXTREMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_ldam_with_several_labels_is_finite_whatever_the_labels_and_the_logits(labels, dtype):
    logits = torch.full(labels.shape, 80.0, dtype=dtype).requires_grad_()
    loss = made("ldam", [9, 3, 0], multi_label=True)(logits, labels)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment"])
def test_softmax_losses_are_refused_where_images_have_several_labels(name):
    with pytest.raises(UserError, match=f"loss {name} needs one label an image"):
        made(name, multi_label=True)


class TestScores:
    """What classes are ranked by at test time."""

    LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)

    def scores(self, name, counts=COUNTS, **options):
        data = TrainingSet("made", "0", list("abcde")[: len(counts)], list(counts), {}, False, sum(counts))
        return losses.build(losses.options(name)(name=name, **options), data).scores

    @pytest.mark.parametrize("name", ["balanced_softmax", "logit_adjustment", "cross_entropy"])
    def test_are_the_raw_logits(self, name):
        assert torch.equal(self.scores(name)(self.LOGITS), self.LOGITS)

    def test_of_ldam_are_scaled_cosines(self):
        torch.testing.assert_close(self.scores("ldam")(self.LOGITS), 30 * self.LOGITS)

    def test_after_post_hoc_adjustment_are_x_minus_tau_log_pi_and_training_is_plain(self):
        scores = self.scores("logit_adjustment", tau=0.7, post_hoc=True)(self.LOGITS)
        torch.testing.assert_close(scores, self.LOGITS - 0.7 * (N / N.sum()).log())
        logits, labels = one_label(8, 4)
        plain = made("logit_adjustment", post_hoc=True)(logits, labels)
        torch.testing.assert_close(plain, nn.functional.cross_entropy(logits, labels))

    def test_of_a_class_without_training_images_stay_finite_and_are_not_raised(self):
        logits = torch.zeros((1, 5), dtype=torch.float64)
        scores = self.scores("logit_adjustment", [*COUNTS, 0], post_hoc=True)(logits)
        assert scores.isfinite().all() and scores[0, 4] == scores.min() == 0
