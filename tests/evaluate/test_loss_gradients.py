"""What is drawn of a loss is its derivative: against closed forms, and autograd of formulas written anew in float64."""

import numpy as np
import pytest
import torch

from fastlt import config as run_config
from fastlt import losses, methods, resources
from fastlt.errors import UserError
from fastlt.evaluate.loss_gradients import loss_gradients
from fastlt.methods.erm import Options as ERMOptions

X = np.linspace(-8, 8, 33)
P = 1 / (1 + np.exp(-X))


def gradients(name, **options):
    found = loss_gradients(ERMOptions(loss=losses.options(name)(name=name, **options)), X)
    assert not np.any(found.get("unknown", 0))
    return np.array(found["positive"]), np.array(found["negative"])


def of_method(name, **options):
    return loss_gradients(methods.options(name)(name=name, **options), X)


def differentiated(formula):
    """dL/dx of a formula of x and p = sigmoid(x), by autograd in float64."""
    x = torch.tensor(X, requires_grad=True)
    formula(x, x.sigmoid()).sum().backward()
    return x.grad.numpy()


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


class TestPartialAsymmetric:
    """csl: the focusing factor is a constant to the gradient, and unknown labels have one of their own."""

    OPTIONS = {"gamma_positive": 1, "gamma_negative": 3, "gamma_unknown": 5, "alpha_unknown": 0.5, "margin": 0.1}

    def expected(self, q_power, alpha=1.0):
        def formula(x, p):
            q = (p - 0.1).clamp(min=0)
            return alpha * q.detach() ** q_power * -torch.log(1 - q)

        return differentiated(formula)

    @pytest.mark.parametrize("mode", ["negative", "selective"])
    def test_unknown_labels_that_count_are_negatives_of_their_own_gamma(self, mode):
        found = of_method("csl", mode=mode, **self.OPTIONS)
        close(found["positive"], differentiated(lambda x, p: (1 - p).detach() * -torch.log(p)))
        close(found["negative"], self.expected(3))
        close(found["unknown"], self.expected(5, alpha=0.5))
        assert np.count_nonzero(found["unknown"]) > 10

    def test_labels_that_are_ignored_do_not_pull(self):
        found = of_method("csl", mode="ignore", gamma_negative=2)
        close(found["negative"], P**2 * P)
        assert not np.any(found["unknown"])

    def test_an_image_with_one_known_label_weighs_half_more_where_classes_are_normalised(self):
        found = of_method("csl", mode="ignore_normalize_classes", gamma_negative=0)
        close(found["positive"], 1.5 * (P - 1))
        close(found["negative"], 1.5 * P)


@pytest.mark.parametrize("weights", ["frequency", "none"])
def test_collaborative_training_is_drawn_as_it_classifies_classes_of_half_of_the_images(weights):
    found = of_method("collaborative", class_weights=weights)
    omega = np.exp(0.5) if weights == "frequency" else 1.0
    close(found["positive"], differentiated(lambda x, p: omega * -torch.log(p)))
    close(found["negative"], differentiated(lambda x, p: omega * -torch.log(1 - p)))
    assert not np.any(found["unknown"])


def test_the_distribution_balanced_loss_without_a_bias_where_classes_are_in_half_of_the_images():
    """Wu et al. with lambda 2: r is 1 where the class is alone there, and infinite where none is."""
    positive, negative = gradients("distribution_balanced", negative_scale=2.0)
    rare = 0.1 + 1 / (1 + np.exp(-10 * (1 - 0.3)))
    close(positive, differentiated(lambda x, p: 2 * rare * (1 - p) ** 2 * -torch.log(p)))
    scaled = lambda x, p: 2 * 1.1 / 2 * (2 * x).sigmoid() ** 2 * torch.nn.functional.softplus(2 * x)  # noqa: E731
    close(negative, differentiated(scaled))


@pytest.mark.parametrize("recipe", resources.list_recipes())
def test_every_recipe_is_drawn_but_those_with_a_teacher(recipe):
    method = run_config.load(recipe)[0].method
    if method.name == "dive":
        with pytest.raises(UserError, match="depends on what its teacher says of the very image") as error:
            loss_gradients(method, X[:2])
        assert "\n" not in str(error.value)
        return
    found = loss_gradients(method, np.array([-1.0, 1.0]))
    assert all(value < 0 for value in found["positive"]) and all(value > 0 for value in found["negative"])
