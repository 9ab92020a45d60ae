"""Hybrid-SC and Hybrid-PSC (Wang et al., CVPR 2021): what a step computes, from which images, and for whom."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastlt import config as run_config
from fastlt import ops
from fastlt.config import StreamConfig
from fastlt.errors import UserError
from fastlt.methods import _parabola
from fastlt.progress import Progress
from fastlt.train.optim import parameter_groups
from tests.methods.hybrid_made import CLASSES, HALFWAY, batch_of, made

NAMES = ["hybrid_sc", "hybrid_psc"]


def supervised_contrast(rows, labels, temperature):
    """Equation 4, anchor by anchor; anchors that are alone in their class are left out."""
    z = rows / rows.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(z)):
        others = [k for k in range(len(z)) if k != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if positives:
            total = sum(torch.exp(z[i] @ z[k] / temperature) for k in others)
            each = [torch.log(torch.exp(z[i] @ z[j] / temperature) / total) for j in positives]
            losses.append(-sum(each) / len(positives))
    return sum(losses) / len(losses)


def prototype_contrast(rows, prototypes, labels, temperature):
    """Equation 6, row by row; the row's own class is not in the denominator."""
    z = rows / rows.norm(dim=1, keepdim=True)
    p = prototypes / prototypes.norm(dim=1, keepdim=True)
    losses = []
    for row, label in zip(z, labels.tolist(), strict=True):
        total = sum(torch.exp(row @ p[j] / temperature) for j in range(len(p)) if j != label)
        losses.append(-torch.log(torch.exp(row @ p[label] / temperature) / total))
    return sum(losses) / len(losses)


def written_out(method, batch, alpha):
    """Both weighted terms, from the formulas."""
    images, labels = batch.images["contrastive"], batch.labels["contrastive"]
    views = list(images) if images.ndim == 5 else [images]
    x = method.model.forward_features(torch.cat([*views, batch.images["classifier"]])).mean((2, 3))
    features, balanced = x[: len(views) * len(labels)], x[len(views) * len(labels) :]
    first, _, last = method.projection
    rows = F.linear(F.linear(features, first.weight, first.bias).relu(), last.weight, last.bias)
    every_label = torch.cat([labels] * len(views))
    if len(views) == 2:
        contrast = supervised_contrast(rows, every_label, method.temperature)
    else:
        contrast = prototype_contrast(rows, method.prototypes, every_label, method.temperature)
    logits = balanced @ method.model.fc.weight.T + method.model.fc.bias
    picked = logits.log_softmax(1)[torch.arange(len(logits)), batch.labels["classifier"]]
    return {"contrastive": alpha * contrast, "classification": (1 - alpha) * -picked.mean()}


def gradients(method, loss):
    method.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in method.named_parameters()}


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_the_papers_formula_with_its_gradients(name, temperature):
    method, batch = made(name, temperature=temperature), batch_of(name)
    terms, truth = method(batch, HALFWAY), written_out(method, batch, alpha=0.75)
    assert terms.keys() == truth.keys()
    for term, value in terms.items():
        torch.testing.assert_close(value, truth[term], rtol=1e-9, atol=1e-12)
    found = gradients(method, sum(terms.values()))
    expected = gradients(method, sum(truth.values()))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_each_term_teaches_the_backbone_and_its_own_branch_alone(name):
    method, batch = made(name), batch_of(name)
    reached = {}
    for term in ("contrastive", "classification"):
        found = gradients(method, method(batch, HALFWAY)[term])
        reached[term] = {parameter for parameter, grad in found.items() if grad is not None and grad.any()}
    backbone = {"model.convolution.weight", "model.norm.weight", "model.norm.bias"}
    projection = {f"projection.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    prototypes = {"prototypes"} if name == "hybrid_psc" else set()
    assert reached["contrastive"] == backbone | projection | prototypes
    assert reached["classification"] == backbone | {"model.fc.weight", "model.fc.bias"}


@pytest.mark.parametrize("term", ["contrastive", "classification"])
@pytest.mark.parametrize("name", NAMES)
def test_without_one_of_the_terms_other_weights_come_out(name, term):
    ends = []
    for left_out in (None, term):
        method = made(name)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        for _ in range(3):
            terms = method(batch_of(name), HALFWAY)
            optimizer.zero_grad()
            sum(value for key, value in terms.items() if key != left_out).backward()
            optimizer.step()
        ends.append(method.model.convolution.weight.detach())
    assert not torch.allclose(*ends, rtol=1e-3)


class TestAlpha:
    """1 - (T / T_max)^2."""

    def share(self, step, steps=100, steps_per_epoch=10.0, whole_epochs=True):
        now = Progress(step, steps, step / steps_per_epoch, steps / steps_per_epoch)
        return _parabola.falling(now, whole_epochs)

    @pytest.mark.parametrize("step, alpha", [(0, 1.0), (9, 1.0), (10, 0.99), (55, 0.75), (90, 0.19), (99, 0.19)])
    def test_falls_once_an_epoch_by_default(self, step, alpha):
        assert self.share(step) == pytest.approx(alpha)

    @pytest.mark.parametrize("step, alpha", [(0, 1.0), (10, 0.99), (50, 0.75), (55, 0.6975), (99, 0.0199)])
    def test_falls_at_every_step_where_asked(self, step, alpha):
        assert self.share(step, whole_epochs=False) == pytest.approx(alpha)

    @pytest.mark.parametrize("whole_epochs", [True, False])
    @pytest.mark.parametrize("images, batch, epochs", [(12406, 512, 200), (389, 64, 24), (10, 3, 7), (389, 64, 0.5)])
    def test_begins_with_contrast_alone_and_never_leaves_it_out(self, images, batch, epochs, whole_epochs):
        steps = math.ceil(images * epochs / batch)
        shares = [self.share(step, steps, images / batch, whole_epochs) for step in range(steps)]
        assert shares[0] == 1 and shares == sorted(shares, reverse=True) and shares[-1] > 0
        if whole_epochs and epochs > 1:
            assert len(set(shares)) == epochs
            assert shares[-1] == pytest.approx(1 - ((epochs - 1) / epochs) ** 2)

    def test_an_epoch_that_ends_with_a_step_is_complete_then(self):
        """7 images in steps of 3: step 35 begins epoch 15, though 35 / (7 / 3) is 14.999999999999998."""
        shares = [self.share(step, steps=70, steps_per_epoch=7 / 3) for step in range(0, 70, 7)]
        assert shares == pytest.approx([1 - (epoch / 30) ** 2 for epoch in range(0, 30, 3)])


def test_batch_norm_sees_both_branches_together():
    """Its running mean moves by momentum times the mean of all images of the step."""
    method, batch = made("hybrid_sc"), batch_of("hybrid_sc")
    every = torch.cat([batch.images["contrastive"].flatten(0, 1), batch.images["classifier"]])
    expected = 0.1 * method.model.convolution(every).mean((0, 2, 3))
    method(batch, HALFWAY)
    torch.testing.assert_close(method.model.norm.running_mean, expected.detach())
    assert method.model.norm.num_batches_tracked == 1


class TestClassifier:
    """Its logits are not normalised, neither in training nor at test, and their number is the data's."""

    @pytest.mark.parametrize("name", NAMES)
    def test_cross_entropy_of_large_logits_is_near_zero(self, name):
        """Of ten logits that together have length 1 it is 1.42 at least."""
        method = made(name, classes=10, whole_epochs=False)
        batch = batch_of(name, classes=10)
        batch.labels["classifier"] = torch.full((6,), 3)
        with torch.no_grad():
            method.model.fc.bias[3] = 50.0
        now = Progress(step=5, steps=10, epoch=5.0, epochs=10.0)
        assert method(batch, now)["classification"] / 0.25 < 1e-6

    @pytest.mark.parametrize("classes", [2, 7, 13])
    @pytest.mark.parametrize("name", NAMES)
    def test_prediction_is_the_networks_own_output_for_any_number_of_classes(self, name, classes):
        method, images = made(name, classes=classes).eval(), batch_of(name).images["classifier"]
        scores = method.predict(images)
        assert scores.shape == (6, classes) and scores.dtype == torch.float32
        torch.testing.assert_close(scores, method.model(images).float())

    @pytest.mark.parametrize("name", NAMES)
    def test_its_loss_can_be_another(self, name):
        method, batch = made(name, loss="binary_cross_entropy"), batch_of(name)
        method.eval()  # batch norm as in the line below
        logits, target = method.model(batch.images["classifier"]), F.one_hot(batch.labels["classifier"], CLASSES)
        expected = 0.25 * F.binary_cross_entropy_with_logits(logits, target.double())
        torch.testing.assert_close(method(batch, HALFWAY)["classification"], expected)


class TestStreams:
    @pytest.mark.parametrize("name, views", [("hybrid_sc", 2), ("hybrid_psc", 1)])
    def test_contrast_is_uniform_with_two_views_for_sc_and_the_classifier_is_class_balanced(self, name, views):
        method = made(name)
        assert method.streams["contrastive"].stream == StreamConfig(sampling="uniform")
        assert method.streams["contrastive"].views == views
        assert method.streams["classifier"].stream == StreamConfig(sampling="class_balanced")
        assert method.streams["classifier"].views == 1
        assert method.epoch_of == "contrastive"
        assert (
            made(name, classifier_stream={"sampling": "reversed"}).streams["classifier"].stream.sampling == "reversed"
        )

    def test_of_real_data_the_second_stream_is_balanced_and_the_views_differ(self, digits):
        from fastlt.data.shards import ShardSet
        from fastlt.loader import Loader

        config, _ = run_config.load("digits/hybrid_sc", [f"data.path={digits}", "data.threads=1"])
        with ShardSet(digits / "train") as records:
            members = records.counts.tolist()
            with Loader(records, made("hybrid_sc").streams, config.pipeline, 40, 0, config.data) as loader:
                batch = next(loader)
        assert batch.labels["classifier"].bincount(minlength=10).tolist() == [4] * 10
        seen = batch.labels["contrastive"].bincount(minlength=10)
        assert seen[members.index(max(members))] > seen[members.index(min(members))] + 4
        assert len(set(batch.index["contrastive"].tolist())) == 40
        one, other = batch.images["contrastive"]
        assert one.shape == other.shape == batch.images["classifier"].shape
        assert (one != other).flatten(1).any(1).float().mean() > 0.9


class TestContrast:
    def test_two_views_of_one_image_that_look_the_same_have_no_loss(self):
        row = torch.randn(1, 4, dtype=torch.float64)
        loss = made("hybrid_sc").contrast(torch.cat([row, row]), torch.tensor([2, 2]))
        torch.testing.assert_close(loss, torch.zeros_like(loss))

    def test_an_anchor_without_a_positive_is_neither_counted_nor_nan(self):
        method, rows = made("hybrid_sc"), torch.randn(5, 4, dtype=torch.float64)
        labels = torch.tensor([0, 0, 1, 1, 2])
        torch.testing.assert_close(method.contrast(rows, labels), supervised_contrast(rows, labels, method.temperature))
        assert method.contrast(rows[2:], torch.tensor([0, 1, 2])) == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_rows_of_zeros_and_close_rows_in_bfloat16_stay_finite(self, name):
        method = made(name).float()
        rows = torch.cat([torch.zeros(2, 4), torch.full((2, 4), 80.0), torch.full((2, 4), -80.0)])
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            x = rows.to(dtype, copy=True).requires_grad_()
            loss = method.contrast(x, torch.tensor([0, 0, 1, 1, 2, 2]))
            loss.backward()
            assert loss.isfinite() and x.grad.isfinite().all() and loss.dtype == torch.float32

    @pytest.mark.parametrize("classes, temperature, least", [(10, 1.0, 1.086), (100, 0.1, -5.506)])
    def test_prototypes_as_far_apart_as_can_be_give_the_least_loss(self, classes, temperature, least):
        """A simplex of C directions: -1 / t - 1 / (t (C - 1)) + log(C - 1), below zero for small t."""
        method = made("hybrid_psc", classes=classes, temperature=temperature)
        simplex = torch.eye(classes, dtype=torch.float64) - 1 / classes
        method.prototypes = torch.nn.Parameter(3 * simplex)  # of any length
        loss = method.contrast(7 * simplex, torch.arange(classes))
        assert loss.item() == pytest.approx(least, abs=1e-3)
        assert loss.item() == pytest.approx(-1 / temperature * classes / (classes - 1) + math.log(classes - 1))

    def test_negatives_are_all_other_classes_and_no_images(self):
        """What else is in the batch changes nothing; the prototype of a class that is not there is pushed away."""
        method, rows = made("hybrid_psc"), torch.randn(6, 4, dtype=torch.float64)
        labels = torch.tensor([0, 0, 1, 1, 2, 2])
        each = torch.stack([method.contrast(rows[i : i + 1], labels[i : i + 1]) for i in range(6)])
        torch.testing.assert_close(method.contrast(rows, labels), each.mean())
        method.contrast(rows[:1], labels[:1]).backward()
        assert (method.prototypes.grad.norm(dim=1) > 0).tolist() == [True] * CLASSES

    def test_an_empty_part_has_no_loss(self):
        for name in NAMES:
            rows = torch.empty(0, 4, dtype=torch.float64, requires_grad=True)
            loss = made(name).contrast(rows, torch.empty(0, dtype=torch.int64))
            loss.backward()
            assert loss == 0

    def test_what_is_compared_is_float32_at_least(self, monkeypatch):
        """A temperature of 0.1 scales rounding errors of bfloat16 by ten."""
        seen = []
        monkeypatch.setattr(
            ops, "supervised_contrastive", lambda rows, labels, **_: seen.append(rows.dtype) or rows.sum()
        )
        method, batch = made("hybrid_sc").float(), batch_of("hybrid_sc")
        batch.images = {name: images.float() for name, images in batch.images.items()}
        with torch.autocast("cpu", torch.bfloat16):
            method(batch, HALFWAY)
        assert seen == [torch.float32]


class TestPrototypes:
    def test_one_a_class_of_length_one_at_random(self):
        prototypes = made("hybrid_psc").prototypes.detach()
        torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(CLASSES, dtype=torch.float64), rtol=1e-6, atol=0)
        assert (prototypes @ prototypes.T - torch.eye(CLASSES)).abs().max() < 0.999

    def test_learn_at_the_common_rate_without_weight_decay(self):
        method = made("hybrid_psc")
        config = run_config.load("digits/hybrid_psc")[0].optimizer
        groups = parameter_groups(method.param_groups(), config)
        mine = [group for group in groups if any(p is method.prototypes for p in group["params"])]
        assert [(len(g["params"]), g["weight_decay"], g["lr_scale"]) for g in mine] == [(1, 0.0, 1.0)]
        grouped = [id(p) for group in groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in method.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_data_without_one_label_an_image_or_with_one_class_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"method {name} needs one label an image.*use erm"):
        made(name, multi_label=True, loss="binary_cross_entropy")
    with pytest.raises(UserError, match=f"method {name} needs at least two classes"):
        made(name, classes=1)
