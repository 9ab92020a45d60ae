"""Balanced softmax and virtual-example distillation against cross-entropy and Kullback-Leibler divergence."""

import pytest
import torch
from loss_cases import assert_same, normal
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from fastlt.ops import balanced_softmax, dive

ROWS, CLASSES = 6, 13
DIVE = {"temperature": 3.0, "power": 0.5, "alpha": 0.5}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def logits(generator):
    return normal((ROWS, CLASSES), torch.float64, generator, 2.0).requires_grad_()


@pytest.fixture
def teacher(generator):
    return normal((ROWS, CLASSES), torch.float64, generator, 2.0)


@pytest.fixture
def labels(generator):
    return torch.randint(0, CLASSES, (ROWS,), generator=generator)


@pytest.fixture
def counts(generator):
    return torch.randint(1, 500, (CLASSES,), generator=generator).double()


def check(found, wanted, logits):
    names = ("loss", "logits")
    results = [(x.detach(), *torch.autograd.grad(x, logits, retain_graph=True)) for x in (found, wanted)]
    assert_same(*(dict(zip(names, result, strict=True)) for result in results))


def test_balanced_softmax_is_cross_entropy_of_logits_with_the_prior(backend, logits, labels, counts):
    wanted = cross_entropy(logits + counts.log(), labels)
    check(balanced_softmax(logits, labels, counts.log()), wanted, logits)


def test_balanced_softmax_of_equal_counts_is_cross_entropy(backend, logits, labels):
    prior = torch.full((CLASSES,), 37.0, dtype=torch.float64).log()
    check(balanced_softmax(logits, labels, prior), cross_entropy(logits, labels), logits)


def test_counts_and_shares_are_the_same_prior(backend, logits, labels, counts):
    shares = balanced_softmax(logits, labels, (counts / counts.sum()).log())
    check(balanced_softmax(logits, labels, counts.log()), shares, logits)


def test_a_class_without_images_takes_no_part(backend, logits, labels, counts):
    counts[4] = 0
    labels[labels == 4] = 5
    kept = [c for c in range(CLASSES) if c != 4]
    loss = balanced_softmax(logits, labels, counts.log())
    there = torch.where(labels > 4, labels - 1, labels)
    check(loss, cross_entropy((logits + counts.log())[:, kept], there), logits)
    assert (torch.autograd.grad(loss, logits)[0][:, 4] == 0).all()


def test_a_label_of_a_class_without_images_costs_infinitely_much_with_a_finite_gradient(backend, counts):
    counts[4] = 0
    x = torch.zeros(2, CLASSES, requires_grad=True)
    loss = balanced_softmax(x, torch.tensor([4, 1]), counts.log().float(), reduction="row")
    loss.sum().backward()
    assert loss[0] == torch.inf
    assert loss[1].isfinite()
    share = (counts / counts.sum()).float()
    expected = torch.stack([share, share])
    expected[0, 4] -= 1
    expected[1, 1] -= 1
    torch.testing.assert_close(x.grad, expected)


def test_distillation_without_distillation_is_balanced_softmax(backend, logits, teacher, labels, counts):
    found = dive(logits, teacher, labels, counts.log(), temperature=3.0, power=0.5, alpha=0.0)
    check(found, balanced_softmax(logits, labels, counts.log()), logits)


def test_the_teacher_is_powered_and_normalised_again(backend, logits, teacher, labels, counts):
    """The paper's softmax(t / temperature)^power / sum is a softmax of power * t / temperature."""
    target = softmax(teacher / 3, dim=1) ** 0.5
    target = target / target.sum(1, keepdim=True)
    divergence = kl_div(log_softmax(logits / 3, dim=1), target, reduction="batchmean")
    wanted = 0.5 * cross_entropy(logits + counts.log(), labels) + 0.5 * 3**2 * divergence
    check(dive(logits, teacher, labels, counts.log(), **DIVE), wanted, logits)


@pytest.mark.parametrize("reduction", ["row", "sum"])
def test_rows_and_sums_of_the_distillation(backend, logits, teacher, labels, counts, reduction):
    mean = dive(logits, teacher, labels, counts.log(), **DIVE)
    found = dive(logits, teacher, labels, counts.log(), **DIVE, reduction=reduction)
    check(found.sum() / ROWS, mean, logits)


def test_a_student_equal_to_its_teacher_has_no_divergence(backend, logits, labels, counts):
    loss = dive(logits, logits, labels, counts.log(), temperature=2.0, power=1.0, alpha=1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.abs() < 1e-15
    assert gradient.abs().max() < 1e-15


def test_half_the_power_is_twice_the_teachers_temperature(backend, logits, teacher, labels, counts):
    powered = dive(logits, teacher, labels, counts.log(), temperature=3.0, power=0.5, alpha=1.0)
    softened = dive(logits, teacher / 2, labels, counts.log(), temperature=3.0, power=1.0, alpha=1.0)
    check(powered, softened, logits)


def test_the_teacher_gets_no_gradient(backend, logits, teacher, labels, counts):
    teacher.requires_grad_()
    dive(logits, teacher, labels, counts.log(), **DIVE).backward()
    assert logits.grad is not None
    assert teacher.grad is None


def test_a_class_without_images_is_still_distilled(backend, logits, teacher, labels, counts):
    counts[4] = 0
    labels[labels == 4] = 5
    loss = dive(logits, teacher, labels, counts.log(), **DIVE)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert (gradient[:, 4] != 0).any()
