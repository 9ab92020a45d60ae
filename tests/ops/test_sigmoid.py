"""The sigmoid losses of the literature are settings of one operator."""

import math

import pytest
import torch
from loss_cases import COMPENSATION, assert_same, normal, targets_of, uniform
from torch.nn.functional import binary_cross_entropy_with_logits, sigmoid, softplus

from fastlt.ops import sigmoid_loss

ROWS, CLASSES = 6, 21


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def logits(generator):
    return normal((ROWS, CLASSES), torch.float64, generator, 3.0).requires_grad_()


@pytest.fixture
def targets(generator):
    return targets_of((ROWS, CLASSES), generator)


def known(targets):
    return targets.clamp(min=0)


def check(found, wanted, *inputs):
    """Equal in value and in the gradients of the inputs."""
    names = [str(k) for k in range(len(inputs))]
    results = [
        {"loss": loss.detach(), **dict(zip(names, torch.autograd.grad(loss, inputs, retain_graph=True), strict=True))}
        for loss in (found, wanted)
    ]
    assert_same(*results)


def focused(x, y, gamma_positive, gamma_negative, margin=0.0):
    """The asymmetric loss as its paper prints it (Ridnik et al. 2021, eq. 4 to 7), for moderate logits."""
    p = sigmoid(x)
    p_m = (p - margin).clamp(min=0)
    positive = (1 - p) ** gamma_positive * -p.log()
    negative = p_m**gamma_negative * -(1 - p_m).log()
    return torch.where(y == 1, positive, negative)


def test_without_settings_it_is_binary_cross_entropy(backend, logits, targets):
    y = known(targets)
    check(sigmoid_loss(logits, y), binary_cross_entropy_with_logits(logits, y.double()), logits)


def test_a_sum_and_rows_are_those_of_binary_cross_entropy(backend, logits, targets):
    y = known(targets)
    each = binary_cross_entropy_with_logits(logits, y.double(), reduction="none")
    check(sigmoid_loss(logits, y, reduction="sum"), each.sum(), logits)
    torch.testing.assert_close(sigmoid_loss(logits, y, reduction="row"), each.sum(1))


def test_unknown_entries_are_left_out_and_still_count_in_the_mean(backend, logits, targets):
    each = binary_cross_entropy_with_logits(logits, known(targets).double(), reduction="none")
    loss = sigmoid_loss(logits, targets)
    check(loss, (each * (targets >= 0)).sum() / targets.numel(), logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[targets < 0] == 0).all()


def test_unknown_entries_may_be_negatives(backend, logits, targets):
    wanted = binary_cross_entropy_with_logits(logits, known(targets).double())
    check(sigmoid_loss(logits, targets, unknown="negative"), wanted, logits)


def test_class_weights_and_compensated_logits(backend, logits, targets, generator):
    """Guo & Wang, CVPR 2021: the logits of positives and of negatives each have a learnt scale and shift."""
    y = known(targets)
    scale_p, scale_n, weight_p, weight_n = (uniform(CLASSES, torch.float64, generator) for _ in range(4))
    shift_p, shift_n = (normal(CLASSES, torch.float64, generator) for _ in range(2))
    vectors = [x.requires_grad_() for x in (scale_p, shift_p, scale_n, shift_n)]
    found = sigmoid_loss(
        logits,
        y,
        **dict(zip(COMPENSATION, vectors, strict=True)),
        positive_weight=weight_p,
        negative_weight=weight_n,
    )
    positive = weight_p * softplus(-(logits * scale_p + shift_p), threshold=99)
    negative = weight_n * softplus(logits * scale_n + shift_n, threshold=99)
    check(found, torch.where(y == 1, positive, negative).mean(), logits, *vectors)


@pytest.mark.parametrize("learnt", COMPENSATION)
def test_each_compensation_vector_learns_alone(backend, logits, targets, learnt, generator):
    vector = uniform(CLASSES, torch.float64, generator).requires_grad_()
    loss = sigmoid_loss(logits.detach(), targets, **{learnt: vector})
    positive, scale = learnt.split("_")
    x = logits.detach()
    t = x * vector if scale == "scale" else x + vector
    t = torch.where(targets == 1, -t if positive == "positive" else -x, t if positive == "negative" else x)
    check(loss, (softplus(t, threshold=99) * (targets >= 0)).mean(), vector)


def test_neutral_compensation_and_weights_change_nothing(backend, logits, targets):
    one, zero = torch.ones(CLASSES, dtype=torch.float64), torch.zeros(CLASSES, dtype=torch.float64)
    neutral = {"positive_scale": one, "positive_shift": zero, "negative_scale": one, "negative_shift": zero}
    found = sigmoid_loss(logits, targets, **neutral, positive_weight=one, negative_weight=one)
    check(found, sigmoid_loss(logits, targets), logits)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0, 0.5])
def test_focal_loss_is_equal_exponents(backend, logits, targets, gamma):
    """Lin et al., ICCV 2017; it is the asymmetric loss with margin 0."""
    y = known(targets)
    found = sigmoid_loss(logits, y, gamma_positive=gamma, gamma_negative=gamma)
    p_right = torch.where(y == 1, sigmoid(logits), sigmoid(-logits))
    check(found, ((1 - p_right) ** gamma * -p_right.log()).mean(), logits)
    check(found, focused(logits, y, gamma, gamma).mean(), logits)


@pytest.mark.parametrize(("exponents", "margin"), [((0.0, 4.0), 0.05), ((1.0, 2.0), 0.2), ((0.0, 0.0), 0.3)])
def test_asymmetric_loss(backend, logits, targets, exponents, margin):
    y = known(targets)
    found = sigmoid_loss(logits, y, gamma_positive=exponents[0], gamma_negative=exponents[1], margin=margin)
    check(found, focused(logits, y, *exponents, margin).mean(), logits)


def test_negatives_below_the_margin_have_neither_loss_nor_gradient(backend):
    x = torch.tensor([[math.log(0.04 / 0.96), -80.0, math.log(0.06 / 0.94)]], requires_grad=True)
    loss = sigmoid_loss(x, torch.zeros(1, 3, dtype=torch.int8), margin=0.05, gamma_negative=0.0, reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1 - 0.01), rel=1e-5)
    assert (x.grad[0, :2] == 0).all()
    assert x.grad[0, 2] > 0


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_a_detached_focus_is_a_constant_for_the_gradient(backend, logits, targets, margin):
    y = known(targets)
    found = sigmoid_loss(logits, y, gamma_positive=1.0, gamma_negative=3.0, margin=margin, detach_focus=True)
    plain = focused(logits, y, 0.0, 0.0, margin)
    p = sigmoid(logits).detach()
    factor = torch.where(y == 1, 1 - p, (p - margin).clamp(min=0) ** 3)
    check(found, (factor * plain).mean(), logits)


class TestPartialLabels:
    """Ben-Baruch et al., CVPR 2022: what the loss does with entries nobody annotated. Focusing is detached."""

    def loss(self, x, targets, weight=None, **settings):
        return sigmoid_loss(
            x, targets, weight=weight, detach_focus=True, unknown="negative", reduction="sum", **settings
        )

    def written_out(self, x, targets, gammas):
        positive, negative, unknown = gammas
        p = sigmoid(x).detach()
        exponent = torch.where(targets == 0, negative, unknown)
        factor = torch.where(targets == 1, (1 - p) ** positive, p**exponent)
        return factor * torch.where(targets == 1, softplus(-x, threshold=99), softplus(x, threshold=99))

    def test_negative_without_focus_is_the_sum_of_binary_cross_entropy(self, backend, logits, targets):
        wanted = binary_cross_entropy_with_logits(logits, known(targets).double(), reduction="sum")
        check(self.loss(logits, targets), wanted, logits)

    def test_every_kind_of_entry_has_its_exponent(self, backend, logits, targets):
        found = self.loss(logits, targets, gamma_positive=1.0, gamma_negative=3.0, gamma_unknown=4.0)
        check(found, self.written_out(logits, targets, (1.0, 3.0, 4.0)).sum(), logits)

    def test_ignore_gives_unknown_entries_no_gradient(self, backend, logits, targets):
        settings = {"gamma_negative": 1.0, "gamma_unknown": 4.0, "detach_focus": True, "reduction": "sum"}
        found = sigmoid_loss(logits, targets, **settings)
        wanted = (self.written_out(logits, targets, (0.0, 1.0, 4.0)) * (targets >= 0)).sum()
        check(found, wanted, logits)
        assert (torch.autograd.grad(found, logits)[0][targets < 0] == 0).all()

    def test_selective_is_a_mask_of_entries(self, backend, logits, targets):
        """Likely positives among the unknown are left out: those of frequent classes and the likeliest of the batch."""
        unknown = targets < 0
        frequent = torch.arange(CLASSES) % 5 == 0
        likeliest = torch.where(unknown, logits.detach(), -math.inf).flatten().topk(2 * ROWS).indices
        mask = ~(unknown & frequent)
        mask.view(-1)[likeliest] = False
        found = self.loss(logits, targets, mask, gamma_negative=1.0, gamma_unknown=4.0)
        wanted = self.written_out(logits, targets, (0.0, 1.0, 4.0))[mask | ~unknown].sum()
        check(found, wanted, logits)

    def test_selective_that_selects_nothing_is_negative(self, backend, logits, targets):
        everything = torch.ones_like(targets, dtype=torch.bool)
        gammas = {"gamma_negative": 3.0, "gamma_unknown": 4.0}
        check(self.loss(logits, targets, everything, **gammas), self.loss(logits, targets, **gammas), logits)

    def test_rows_may_be_weighted_by_how_many_entries_are_known(self, backend, logits, targets):
        """Durand et al., CVPR 2019: 1 / (1 + known entries) + 1, and 0 for unknown entries."""
        known_entries = (targets >= 0).sum(1, keepdim=True)
        weight = (targets >= 0) * (1 / (1 + known_entries.double()) + 1)
        found = self.loss(logits, targets, weight, gamma_negative=1.0)
        wanted = (self.written_out(logits, targets, (0.0, 1.0, 1.0)) * weight).sum()
        check(found, wanted, logits)


def test_distribution_balanced_loss(backend, logits, targets, generator):
    """Wu et al., ECCV 2020: negative-tolerant logits, re-balanced weights, focusing, times 2."""
    y = known(targets)
    counts = torch.randint(1, 500, (CLASSES,), generator=generator).double()
    images, kappa, tolerance = 1000.0, 0.05, 5.0
    bias = -(kappa / tolerance) * (images / counts - 1).log()
    frequency = 1 / counts / ((y == 1) / counts).sum(1, keepdim=True).clamp(min=1e-9)
    weight = 0.1 + sigmoid(10 * (frequency - 0.3))
    found = sigmoid_loss(
        logits,
        y,
        positive_shift=bias,
        negative_scale=torch.full_like(bias, tolerance),
        negative_shift=tolerance * bias,
        positive_weight=torch.full_like(bias, 2.0),
        negative_weight=torch.full_like(bias, 2.0 / tolerance),
        weight=weight,
        gamma_positive=2.0,
        gamma_negative=2.0,
    )
    z = logits + bias
    p_positive, p_negative = sigmoid(z), sigmoid(-tolerance * z)
    positive = (1 - p_positive) ** 2 * softplus(-z, threshold=99)
    negative = (1 - p_negative) ** 2 * softplus(tolerance * z, threshold=99) / tolerance
    check(found, (2 * weight * torch.where(y == 1, positive, negative)).mean(), logits)


def test_a_bool_weight_is_a_weight_of_zero_or_one(backend, logits, targets, generator):
    mask = torch.rand(ROWS, CLASSES, generator=generator) < 0.5
    settings = {"gamma_negative": 2.0, "margin": 0.1}
    found = sigmoid_loss(logits, targets, weight=mask, **settings)
    check(found, sigmoid_loss(logits, targets, weight=mask.double(), **settings), logits)


def test_an_exponent_of_zero_counts_every_entry_even_where_the_probability_is_zero(backend):
    x = torch.tensor([[-2000.0, 2000.0]], requires_grad=True)
    loss = sigmoid_loss(x, torch.tensor([[0, 1]], dtype=torch.int8), gamma_positive=0.0, gamma_negative=0.5)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_weights_get_no_gradient(backend, logits, targets):
    weights = {name: torch.ones(CLASSES, dtype=torch.float64) for name in ("positive_weight", "negative_weight")}
    weights["weight"] = torch.ones(ROWS, CLASSES, dtype=torch.float64)
    for weight in weights.values():
        weight.requires_grad_()
    sigmoid_loss(logits, targets, **weights).backward()
    assert logits.grad is not None
    assert all(weight.grad is None for weight in weights.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_small_gradients_are_as_accurate_as_large_ones(backend, dtype):
    """Relative accuracy at every logit: nothing saturates, so the rarest mistakes still teach."""
    x = torch.linspace(-60, 60, 41).to(dtype).expand(2, -1).clone()
    targets = torch.tensor([[1], [0]], dtype=torch.int8).expand(2, 41).contiguous()
    for exponents in ((0.0, 0.0), (1.0, 1.0)):
        found, wanted = x.clone().requires_grad_(), x.double().requires_grad_()
        for leaf in (found, wanted):
            loss = sigmoid_loss(
                leaf, targets, gamma_positive=exponents[0], gamma_negative=exponents[1], reduction="sum"
            )
            loss.backward()
        relative = {torch.float32: 5e-6, torch.bfloat16: 5e-3}[dtype]
        torch.testing.assert_close(found.grad.double(), wanted.grad, rtol=relative, atol=1e-36)
