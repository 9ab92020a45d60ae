"""The distribution-balanced focal loss against its formulas in float64, written entry by entry."""

import math

import pytest
import torch

from tests.losses.made import made_loss

COUNTS, IMAGES = [60, 20, 5, 1], 80
VOC = {"lowest": 0.1, "steepness": 10.0, "center": 0.3, "negative_scale": 5.0, "bias": 0.05}
COCO = VOC | {"center": 0.2, "negative_scale": 2.0}


def loss_of(logits, labels, counts=COUNTS, images=IMAGES, **options):
    return made_loss("distribution_balanced", counts, images=images, **options)(logits, labels)


def truth(logits, labels, options, counts=COUNTS, images=IMAGES):
    """Wu et al., equations 3, 5, 6, 8 and 9, with their code's factor 2 and mean over entries."""
    alpha, beta, mu, scale, kappa = (options[name] for name in VOC)
    total, entries = logits.new_zeros(()), 0
    for x, y in zip(logits, labels.tolist(), strict=True):
        together = sum(1 / n for n, label in zip(counts, y, strict=True) if label == 1)
        for k, n in enumerate(counts):
            if y[k] < 0:
                continue
            entries += 1
            ratio = (1 / n) / together if together else math.inf
            weight = alpha + 1 / (1 + math.exp(-beta * (ratio - mu)))
            z = x[k] - kappa / scale * math.log(images / n - 1)
            z, weight = (z, weight) if y[k] == 1 else (-scale * z, weight / scale)
            right = torch.sigmoid(z)
            total = total - 2 * weight * (1 - right) ** 2 * torch.log(right)
    return total / max(entries, 1)


def sample(batch=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (batch, len(COUNTS)), generator=generator, dtype=torch.int8)
    labels[0] = 0  # a row without positives
    return 2 * torch.randn(batch, len(COUNTS), generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("options", [VOC, COCO], ids=["VOC-LT", "COCO-LT"])
def test_loss_and_gradient_are_those_of_the_formulas(options):
    logits, labels = sample()
    found, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, exact = loss_of(found, labels, **options), truth(expected, labels, options)
    torch.testing.assert_close(loss, exact, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(*each)[0] for each in ((loss, found), (exact, expected))))


def test_the_defaults_are_those_of_voc_lt():
    assert torch.equal(loss_of(*sample()), loss_of(*sample(), **VOC))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", [80.0, -80.0])
def test_extreme_logits_give_a_finite_loss_and_gradient(dtype, extreme):
    _, labels = sample()
    logits = torch.full(labels.shape, extreme, dtype=dtype, requires_grad=True)
    loss = loss_of(logits, labels)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad.isfinite().all()
    assert logits.grad.any(), "what is wrong still learns"


@pytest.mark.parametrize("counts", [[80, 3, 2, 0], [80, 80, 80, 80], [0, 0, 0, 0]])
def test_classes_that_no_image_or_every_image_has_do_no_harm(counts):
    logits, labels = sample()
    loss = loss_of(logits.requires_grad_(), labels, counts)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_an_empty_batch_is_no_loss():
    logits = torch.zeros(0, len(COUNTS), requires_grad=True)
    loss = loss_of(logits, torch.zeros(0, len(COUNTS), dtype=torch.int8))
    loss.backward()
    assert loss.item() == 0


def test_unknown_labels_have_no_gradient():
    logits, labels = sample()
    loss_of(logits.requires_grad_(), labels).backward()
    assert not logits.grad[labels < 0].any() and (logits.grad[labels >= 0] != 0).all()


def test_the_logits_given_stay_as_they_were():
    logits, labels = sample()
    before = logits.clone()
    loss_of(logits, labels)
    assert torch.equal(logits, before)


def test_one_label_an_image_is_one_positive_class():
    logits, own = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    hot = torch.nn.functional.one_hot(own, 4).to(torch.int8)
    assert torch.equal(loss_of(logits, own), loss_of(logits, hot))
