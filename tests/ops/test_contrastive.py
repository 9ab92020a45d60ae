"""The contrastive losses against their definitions, written with loops."""

import math

import pytest
import torch
from loss_cases import assert_same, normal
from torch.nn.functional import cross_entropy, normalize

from fastlt.ops import prototype_contrastive, reference, supervised_contrastive


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(4)


def check(found, wanted, *inputs):
    names = ["loss", *map(str, range(len(inputs)))]
    results = [(x.detach(), *torch.autograd.grad(x, inputs, retain_graph=True)) for x in (found, wanted)]
    assert_same(*(dict(zip(names, result, strict=True)) for result in results))


def simplex(classes):
    """Directions as far from each other as they can be: cosines of -1 / (classes - 1)."""
    return torch.eye(classes, dtype=torch.float64) - 1 / classes


class TestPrototypes:
    @pytest.fixture
    def features(self, generator):
        return normal((5, 8), torch.float64, generator).requires_grad_()

    @pytest.fixture
    def prototypes(self, generator):
        return normal((6, 8), torch.float64, generator).requires_grad_()

    labels = torch.tensor([0, 5, 2, 2, 4])

    def test_the_positive_is_not_in_the_denominator(self, backend, features, prototypes):
        """Wang et al. 2021, eq. 6."""
        z = normalize(features, dim=1) @ normalize(prototypes, dim=1).T / 0.2
        rows = []
        for row, label in zip(z, self.labels.tolist(), strict=True):
            others = torch.cat([row[:label], row[label + 1 :]])
            rows.append(-(row[label].exp() / others.exp().sum()).log())
        found = prototype_contrastive(features, prototypes, self.labels, temperature=0.2)
        check(found, torch.stack(rows).mean(), features, prototypes)

    def test_with_the_positive_in_the_denominator_it_is_cross_entropy_of_cosines(self, backend, features, prototypes):
        z = normalize(features, dim=1) @ normalize(prototypes, dim=1).T / 0.2
        found = prototype_contrastive(
            features, prototypes, self.labels, temperature=0.2, positive_in_denominator=True, reduction="sum"
        )
        check(found, cross_entropy(z, self.labels, reduction="sum"), features, prototypes)

    @pytest.mark.parametrize(("classes", "temperature", "least"), [(10, 1.0, 1.086), (100, 0.1, -5.506)])
    def test_the_least_loss_is_that_of_a_simplex(self, backend, classes, temperature, least):
        """-1 / T - 1 / (T (C - 1)) + log(C - 1)"""
        corners = simplex(classes).requires_grad_()
        loss = prototype_contrastive(corners, simplex(classes), torch.arange(classes), temperature=temperature)
        assert loss.item() == pytest.approx(least, abs=1e-3)
        (gradient,) = torch.autograd.grad(loss, corners)
        assert gradient.abs().max() < 1e-12

    def test_lengths_do_not_matter_and_get_no_gradient(self, backend, features, prototypes):
        loss = prototype_contrastive(features, prototypes, self.labels, temperature=0.1)
        torch.testing.assert_close(
            prototype_contrastive(7 * features, prototypes / 3, self.labels, temperature=0.1), loss
        )
        for x, gradient in zip((features, prototypes), torch.autograd.grad(loss, (features, prototypes)), strict=True):
            torch.testing.assert_close((x * gradient).sum(1), torch.zeros(len(x), dtype=torch.float64))

    def test_a_row_of_zeros_stays_and_gets_no_gradient(self, backend, features, prototypes):
        with torch.no_grad():
            features[1], prototypes[3] = 0, 0
        loss = prototype_contrastive(features, prototypes, self.labels, temperature=0.1, reduction="row")
        gradients = torch.autograd.grad(loss.sum(), (features, prototypes))
        assert loss[1].item() == pytest.approx(math.log(5), rel=1e-9)
        assert (gradients[0][1] == 0).all()
        assert (gradients[1][3] == 0).all()
        assert all(gradient.isfinite().all() for gradient in gradients)

    def test_prototypes_of_absent_classes_are_negatives_with_gradients(self, backend, features, prototypes):
        loss = prototype_contrastive(features, prototypes, self.labels, temperature=0.1)
        (gradient,) = torch.autograd.grad(loss, prototypes)
        assert (gradient[[1, 3]] != 0).any(1).all()

    def test_more_rows_than_a_tile(self, backend, generator):
        rows, classes = (1040, 12) if backend.simulated else (300, 1100)
        features = normal((rows, 17), torch.float64, generator).requires_grad_()
        prototypes = normal((classes, 17), torch.float64, generator).requires_grad_()
        labels = torch.randint(0, classes, (rows,), generator=generator)
        z = normalize(features, dim=1) @ normalize(prototypes, dim=1).T / 0.1
        wanted = (z.scatter(1, labels[:, None], -math.inf).logsumexp(1) - z.gather(1, labels[:, None])[:, 0]).mean()
        found = prototype_contrastive(features, prototypes, labels, temperature=0.1)
        check(found, wanted, features, prototypes)


class TestSupervised:
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 3])

    @pytest.fixture
    def features(self, generator):
        return normalize(normal((7, 5), torch.float64, generator), dim=1).requires_grad_()

    def written_out(self, features, temperature):
        """Khosla et al. 2020, eq. 2, and the anchors that have a positive."""
        f = normalize(features, dim=1)
        z = f @ f.T / temperature
        rows = []
        for i, label in enumerate(self.labels):
            others = [k for k in range(7) if k != i]
            positives = [k for k in others if self.labels[k] == label]
            total = sum(z[i, k].exp() for k in others)
            terms = [-(z[i, j].exp() / total).log() for j in positives]
            rows.append(sum(terms) / len(terms) if terms else 0 * z[i, i])
        return torch.stack(rows), [0, 1, 2, 4, 5]

    @pytest.mark.parametrize("temperature", [0.1, 1.0])
    def test_it_is_the_mean_over_positives_and_then_over_anchors(self, backend, features, temperature):
        rows, anchors = self.written_out(features, temperature)
        check(supervised_contrastive(features, self.labels, temperature=temperature), rows[anchors].mean(), features)
        total = supervised_contrastive(features, self.labels, temperature=temperature, reduction="sum")
        check(total, rows.sum(), features)
        each = supervised_contrastive(features, self.labels, temperature=temperature, reduction="row")
        torch.testing.assert_close(each, rows)

    def test_rows_take_an_upstream_gradient_each(self, backend, features):
        upstream = torch.tensor([1.0, -2, 0.5, 3, 0, 1, 9]).double()
        found = supervised_contrastive(features, self.labels, temperature=0.3, reduction="row")
        check((found * upstream).sum(), (self.written_out(features, 0.3)[0] * upstream).sum(), features)

    def test_an_anchor_without_a_positive_has_no_loss_but_is_a_negative(self, backend, features):
        loss = supervised_contrastive(features, self.labels, temperature=0.1, reduction="row")
        assert loss[3] == 0
        assert loss[6] == 0
        (gradient,) = torch.autograd.grad(loss.sum(), features)
        assert (gradient[3] != 0).any()

    def test_without_any_anchor_loss_and_gradient_are_zero(self, backend, features):
        loss = supervised_contrastive(features, torch.arange(7), temperature=0.1)
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss == 0
        assert (gradient == 0).all()

    def test_two_equal_views_of_one_image_have_no_loss(self, backend):
        view = normalize(torch.tensor([[0.3, -0.4, 1.0]]), dim=1)
        both = torch.cat([view, view]).requires_grad_()
        loss = supervised_contrastive(both, torch.tensor([5, 5]), temperature=0.1)
        (gradient,) = torch.autograd.grad(loss, both)
        assert loss == 0
        assert gradient.abs().max() < 1e-6

    def test_one_row_alone_is_no_anchor(self, backend):
        x = torch.ones(1, 3, requires_grad=True)
        loss = supervised_contrastive(x, torch.tensor([2]), temperature=0.1)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss == 0
        assert (gradient == 0).all()

    def test_the_order_of_rows_does_not_matter(self, backend, features):
        order = torch.tensor([4, 2, 6, 0, 5, 1, 3])
        torch.testing.assert_close(
            supervised_contrastive(features[order], self.labels[order], temperature=0.1),
            supervised_contrastive(features, self.labels, temperature=0.1),
        )

    def test_lengths_do_not_matter_and_get_no_gradient(self, backend, features):
        lengths = torch.linspace(0.2, 9, 7, dtype=torch.float64)[:, None]
        loss = supervised_contrastive(features, self.labels, temperature=0.1)
        torch.testing.assert_close(supervised_contrastive(features * lengths, self.labels, temperature=0.1), loss)
        (gradient,) = torch.autograd.grad(loss, features)
        torch.testing.assert_close((features * gradient).sum(1), torch.zeros(7, dtype=torch.float64))

    def test_a_row_of_zeros_stays_and_gets_no_gradient(self, backend, features):
        with torch.no_grad():
            features[2] = 0
        loss = supervised_contrastive(features, self.labels, temperature=0.1, reduction="row")
        (gradient,) = torch.autograd.grad(loss.sum(), features)
        assert loss[2].item() == pytest.approx(math.log(6), rel=1e-9)
        assert (gradient[2] == 0).all()
        assert gradient.isfinite().all()

    def test_more_rows_than_a_tile(self, backend, generator):
        rows = 1040 if backend.simulated else 600
        features = normal((rows, 9), torch.float64, generator).requires_grad_()
        labels = torch.randint(0, 50, (rows,), generator=generator)
        found = supervised_contrastive(features, labels, temperature=0.2)
        wanted = reference.supervised_contrastive(features, labels, temperature=0.2)
        check(found, wanted, features)
