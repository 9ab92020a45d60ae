"""LSEP against the double sum over pairs in float64."""

import torch

from tests.losses.inputs import many_labels
from tests.losses.made import made_loss


def lsep(logits, labels):
    return made_loss("lsep", [3] * logits.shape[1])(logits, labels)


def truth(logits, labels):
    """log(1 + sum over negatives v, positives u of e^(x_v - x_u)) of each image."""
    rows = []
    for x, y in zip(logits, labels, strict=True):
        pairs = x[y == 0][:, None] - x[y == 1][None, :]
        rows.append((1 + pairs.exp().sum()).log())
    return torch.stack(rows)


def test_loss_and_gradient_are_those_of_the_sum_over_pairs():
    logits, labels = many_labels(7, 9)
    labels[0], labels[1] = 0, 1  # no positive; no negative
    ours, exact = logits.float().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = lsep(ours, labels), truth(exact, labels).mean()
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-7)
    assert not ours.grad[:2].any()


def test_an_image_without_positives_counts_in_the_mean():
    logits = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    labels = torch.tensor([[1, 0], [0, 0]], dtype=torch.int8)
    torch.testing.assert_close(lsep(logits, labels), torch.tensor(1.0).exp().log1p() / 2)


def test_a_constant_more_in_an_images_logits_changes_nothing():
    logits, labels = many_labels(5, 6)
    torch.testing.assert_close(lsep(logits + torch.randn(5, 1), labels), lsep(logits, labels))


def test_of_one_label_an_image_its_class_is_ranked_above_all_others():
    logits = torch.randn(4, 3)
    torch.testing.assert_close(
        lsep(logits, torch.tensor([0, 1, 2, 1])), torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 1]))
    )
