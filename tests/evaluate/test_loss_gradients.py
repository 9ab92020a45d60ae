"""What is drawn of a loss is its derivative: against the closed forms of the papers, and of finite differences."""

import numpy as np
import pytest

from fastlt import losses
from fastlt.evaluate.loss_gradients import loss_gradients

X = np.linspace(-8, 8, 33)
P = 1 / (1 + np.exp(-X))


def gradients(name, **options):
    found = loss_gradients(losses.options(name)(name=name, **options), X)
    return np.array(found["positive"]), np.array(found["negative"])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def focusing(q, gamma):
    """Of -q^gamma log(1 - q), its derivative by q."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(q > 0, q**gamma * (1 / (1 - q) - gamma * np.log1p(-q) / q), 0)


def test_binary_cross_entropy():
    positive, negative = gradients("binary_cross_entropy")
    close(positive, P - 1)
    close(negative, P)


@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_focal(gamma):
    positive, negative = gradients("focal", gamma=gamma)
    close(positive, (1 - P) ** gamma * (gamma * P * np.log(P) - (1 - P)))
    close(negative, P * (1 - P) * focusing(P, gamma))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_asymmetric_in_which_a_negative_below_the_margin_is_not_pulled_at_all(reduction):
    positive, negative = gradients("asymmetric", reduction=reduction)
    close(positive, P - 1)
    close(negative, P * (1 - P) * focusing(np.maximum(P - 0.05, 0), 4.0))
    assert not negative[P <= 0.05].any() and negative[P > 0.06].all()


@pytest.mark.parametrize("name", ["lsep", "cross_entropy", "attribute_cross_entropy"])
def test_a_loss_that_compares_classes_is_drawn_against_one_of_logit_zero(name):
    positive, negative = gradients(name)
    close(positive, P - 1)
    close(negative, P)
