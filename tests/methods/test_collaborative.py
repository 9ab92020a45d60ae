"""Collaborative training: its terms against the formulas, what they teach, and every row of the ablation."""

import copy
import math

import pytest
import torch
from torch import nn

from fastlt.batch import Batch
from fastlt.config import ModelConfig
from fastlt.methods.collaborative import Collaborative, Options
from fastlt.models import backbones
from fastlt.progress import Progress, TrainingSet
from fastlt.train import optim

NOW = Progress(0, 10, 0.0, 1.0)
COUNTS, IMAGES = [60, 20, 5, 0], 80
CLASSES = len(COUNTS)
PLAIN = {"consistency": 0.0, "compensation": "none", "class_weights": "none"}


def method(**options):
    torch.manual_seed(0)
    data = TrainingSet("made", "0", [f"c{k}" for k in range(CLASSES)], COUNTS, {}, True, images=IMAGES)
    network = backbones.create(ModelConfig(backbone="cifar_resnet20"), CLASSES)
    return Collaborative(Options(**options), network, data)


@pytest.mark.parametrize("backbone", ["cifar_resnet20", "tf_efficientnet_lite0"])
def test_dropout_is_said_to_disturb_consistency(backbone):
    """Branches that begin alike must give the same logits for the same picture; with dropout they do not."""
    data = TrainingSet("made", "0", [f"c{k}" for k in range(CLASSES)], COUNTS, {}, True, images=IMAGES)
    dropping, plain = (backbones.create(ModelConfig(backbone=backbone, drop_rate=rate), CLASSES) for rate in (0.3, 0))
    disturbed, undisturbed = (Collaborative(Options(), model, data) for model in (dropping, plain))
    assert "model.drop_rate=0" in disturbed.notices()[0]
    assert undisturbed.notices() == []
    assert Collaborative(Options(consistency=0), dropping, data).notices() == []
    assert Collaborative(Options(branches="rebalanced"), dropping, data).notices() == []
    batch = batch_of()
    batch.images = {name: torch.randn(6, 3, 64, 64) for name in batch.images}
    assert disturbed.train()(batch, NOW)["consistency"] > 0
    assert undisturbed.train()(batch, NOW)["consistency"] == 0


def labels_of(size, seed):
    return torch.randint(-1, 2, (size, CLASSES), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def batch_of(streams=("uniform", "rebalanced"), size=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    images = {name: torch.randn(size, 3, 16, 16, generator=generator).to(dtype) for name in streams}
    return Batch(images, {name: labels_of(size, seed) for seed, name in enumerate(streams)}, {}, {})


class Logits(nn.Module):
    """Stands for a network: gives logits that are leaves."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def forward(self, images):
        return self.values


def on_logits(size=6, scale=2.0, dtype=torch.float64, **options):
    """A method in float64 whose branches give random logits [2 size, C], the uniform batch first, and these."""
    made = method(**options).double()
    generator = torch.Generator().manual_seed(2)
    values = {
        name: (scale * torch.randn(2 * size, CLASSES, generator=generator, dtype=torch.float64)).to(dtype)
        for name in ("uniform", "rebalanced")
    }
    made.network = Logits({name: value.requires_grad_() for name, value in values.items()})
    return made, values["uniform"], values["rebalanced"]


def classification(x, y, sp, mp, sn, mn, rho):
    """-(1/K) sum omega [y log s(x sp + mp) + (1 - y) log(1 - s(x sn + mn))] over known entries, one by one."""
    total, known = x.new_zeros(()), 0
    for i in range(len(x)):
        for k in range(CLASSES):
            if y[i, k] == 1:
                total = total - math.exp(1 - rho[k]) * torch.log(torch.sigmoid(x[i, k] * sp[k] + mp[k]))
            elif y[i, k] == 0:
                total = total - math.exp(rho[k]) * torch.log(1 - torch.sigmoid(x[i, k] * sn[k] + mn[k]))
            known += int(y[i, k] >= 0)
    return total / known


def randomised(made):
    with torch.no_grad():
        for parameter in made.compensation.parameters():
            parameter.normal_(std=0.3)
    return made


def test_the_terms_and_their_gradients_are_those_of_the_formulas():
    made, u_all, r_all = on_logits()
    randomised(made)
    batch = batch_of(dtype=torch.float64)
    terms = made(batch, NOW)
    sum(terms.values()).backward()

    u, r = (value.detach().clone().requires_grad_() for value in (u_all, r_all))
    own = {}
    for name in ("uniform", "rebalanced"):
        part = made.compensation[name]
        own[name] = [
            value.detach().clone().requires_grad_()
            for value in (
                part.positive_log_scale.exp(),
                part.positive_shift,
                part.negative_log_scale.exp(),
                part.negative_shift,
            )
        ]
    rho = [count / IMAGES for count in COUNTS]
    expected = {
        "classification_uniform": classification(u[:6], batch.labels["uniform"], *own["uniform"], rho),
        "classification_rebalanced": classification(r[6:], batch.labels["rebalanced"], *own["rebalanced"], rho),
        "consistency": 0.1 * (((u[:6] - r[:6]) ** 2).mean() + ((r[6:] - u[6:]) ** 2).mean()),
    }
    sum(expected.values()).backward()
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(u_all.grad, u.grad, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(r_all.grad, r.grad, rtol=1e-6, atol=1e-9)
    for name, (sp, mp, sn, mn) in own.items():
        part = made.compensation[name]
        torch.testing.assert_close(part.positive_log_scale.grad, sp.grad * sp.detach(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(part.negative_log_scale.grad, sn.grad * sn.detach(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(part.positive_shift.grad, mp.grad, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(part.negative_shift.grad, mn.grad, rtol=1e-6, atol=1e-9)


def test_with_nothing_added_it_is_two_binary_cross_entropies():
    made, u, r = on_logits(class_weights="none", consistency=0.0)
    batch = batch_of(dtype=torch.float64)
    terms = made(batch, NOW)
    for name, logits in (("uniform", u[:6]), ("rebalanced", r[6:])):
        known = batch.labels[name] >= 0
        plain = nn.functional.binary_cross_entropy_with_logits(logits[known], batch.labels[name][known].double())
        torch.testing.assert_close(terms[f"classification_{name}"], plain, rtol=1e-12, atol=1e-12)
    assert len(terms) == 2


def test_what_the_other_branch_says_of_a_stream_has_no_classification_gradient():
    made, u, r = on_logits(consistency=0.0)
    sum(made(batch_of(), NOW).values()).backward()
    assert u.grad[:6].any() and r.grad[6:].any()
    assert not u.grad[6:].any() and not r.grad[:6].any()


def test_consistency_draws_both_branches_towards_each_other_on_both_streams():
    made, u, r = on_logits()
    made(batch_of(), NOW)["consistency"].backward()
    torch.testing.assert_close(u.grad, -r.grad)
    assert (u.grad != 0).all()


def test_right_logits_leave_no_loss():
    """A sigmoid before a loss of logits would keep it above 0.66, whatever is learnt."""
    made, u, r = on_logits(**PLAIN)
    batch = batch_of()
    with torch.no_grad():
        u[:6], r[6:] = (40.0 * batch.labels[name].double().sign().mul(2).sub(1) for name in ("uniform", "rebalanced"))
    assert sum(made(batch, NOW).values()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_terms_and_gradients(dtype):
    made, u, r = on_logits(dtype=dtype)
    made.float()
    with torch.no_grad():
        u.copy_(torch.where(u > 0, 80.0, -80.0))
        r.copy_(-300 * u.sign())  # (380)^2 is outside of float16
    terms = made(batch_of(), NOW)
    sum(terms.values()).backward()
    assert all(term.isfinite() and term.dtype == torch.float32 for term in terms.values())
    assert terms["consistency"].item() == pytest.approx(0.1 * 2 * 380**2)
    assert u.grad.isfinite().all() and r.grad.isfinite().all()


def test_an_empty_batch_or_one_without_known_labels_is_no_classification_loss():
    made, *_ = on_logits(size=0)
    assert all(term == 0 for term in made(batch_of(size=0), NOW).values())
    made, u, r = on_logits(consistency=0.0)
    batch = batch_of()
    for labels in batch.labels.values():
        labels.fill_(-1)
    terms = made(batch, NOW)
    sum(terms.values()).backward()
    assert all(term == 0 for term in terms.values()) and not u.grad.any()


def test_both_batches_pass_through_the_bottom_as_one():
    """Otherwise running statistics mix two distributions, step by step."""
    made = method()
    first = made.network.bottom.network.bn1
    batch = batch_of()
    inputs = []
    first.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    made.train()(batch, NOW)
    assert [len(value) for value in inputs] == [12]
    expected = 0.1 * inputs[0].mean((0, 2, 3))
    torch.testing.assert_close(first.running_mean, expected, rtol=1e-4, atol=1e-6)


class TestWhatEachTermTeaches:
    @pytest.fixture
    def grown(self):
        return randomised(method())

    def reached(self, made, term):
        made.zero_grad()
        made(batch_of(), NOW)[term].backward()
        names = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
        return {".".join(name.split(".")[:3] if "branches" in name else name.split(".")[:2]) for name in names}

    @pytest.mark.parametrize("branch", ["uniform", "rebalanced"])
    def test_classification_teaches_the_bottom_its_own_branch_and_its_own_compensation(self, grown, branch):
        expected = {"network.bottom", f"network.branches.{branch}", f"compensation.{branch}"}
        assert self.reached(grown, f"classification_{branch}") == expected

    def test_consistency_teaches_the_network_and_no_compensation(self, grown):
        expected = {"network.bottom", "network.branches.uniform", "network.branches.rebalanced"}
        # Branches that still are equal have nothing to agree on.
        with torch.no_grad():
            for parameter in grown.network.branches["uniform"].parameters():
                parameter.mul_(1.1)
        assert self.reached(grown, "consistency") == expected

    def test_equal_branches_agree(self, grown):
        assert grown(batch_of(), NOW)["consistency"] == 0


class TestSettings:
    @pytest.mark.parametrize("branch", ["uniform", "rebalanced"])
    def test_one_branch_has_one_stream_and_one_term(self, branch):
        made = method(branches=branch)
        assert list(made.streams) == [branch] == list(made.network.branches)
        assert list(made(batch_of([branch]), NOW)) == [f"classification_{branch}"]
        scores, parts = made.eval().predict_parts(torch.randn(2, 3, 16, 16))
        assert scores.shape == (2, CLASSES) and parts == {}

    def test_streams_are_uniform_and_class_balanced(self):
        made = method()
        samplings = {name: spec.stream.sampling for name, spec in made.streams.items()}
        assert samplings == {"uniform": "uniform", "rebalanced": "class_balanced"} and made.epoch_of == "uniform"

    @pytest.mark.parametrize(("kind", "sets"), [("each", 2), ("shared", 1), ("none", 0)])
    def test_compensation_begins_as_nothing_and_has_no_weight_decay(self, kind, sets):
        made = method(compensation=kind)
        assert len(made.compensation) == sets
        for part in made.compensation.values():
            values = part()
            assert all(values[name].tolist() == [1.0] * CLASSES for name in ("positive_scale", "negative_scale"))
            assert all(values[name].tolist() == [0.0] * CLASSES for name in ("positive_shift", "negative_shift"))
        options = optim_options(weight_decay=1e-4)
        groups = {group["name"]: group for group in optim.parameter_groups(made.param_groups(), options)}
        assert groups["network"]["weight_decay"] == 1e-4
        decays = [group["weight_decay"] for name, group in groups.items() if name.startswith("compensation")]
        assert decays == ([0.0] if sets else [])
        assert sum(len(group["params"]) for group in groups.values()) == len(list(made.parameters()))

    def test_scales_stay_above_zero_however_far_they_are_pushed(self):
        made, u, r = on_logits(dtype=torch.float64)
        with torch.no_grad():
            made.compensation["uniform"].positive_log_scale.fill_(-30.0)
        assert (made.compensation["uniform"]()["positive_scale"] > 0).all()

    def test_omega_is_large_for_positives_of_rare_and_negatives_of_frequent_classes(self):
        made = method()
        share = torch.tensor(COUNTS) / IMAGES
        torch.testing.assert_close(made.positive_weight, (1 - share).exp())
        torch.testing.assert_close(made.negative_weight, share.exp())
        assert method(class_weights="none").positive_weight is None
        assert not [name for name in made.state_dict() if "weight" in name and "network" not in name]

    def test_sequential_is_refused(self):
        with pytest.raises(ValueError, match="sequential is for evaluation"):
            Options(rebalanced={"sampling": "sequential"})


class TestPrediction:
    def test_probabilities_of_the_branches_are_averaged_and_each_is_reported_alone(self):
        made, u, r = on_logits()
        scores, parts = made.predict_parts(torch.empty(0))
        expected = (torch.sigmoid(u) + torch.sigmoid(r)) / 2
        torch.testing.assert_close(torch.sigmoid(scores.double()), expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(parts["uniform"].double(), u.detach(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(parts["rebalanced"].double(), r.detach(), rtol=1e-6, atol=1e-6)
        assert torch.equal(made.predict(torch.empty(0)), scores)

    def test_or_logits(self):
        made, u, r = on_logits(average="logits")
        torch.testing.assert_close(made.predict(torch.empty(0)).double(), (u + r) / 2, rtol=1e-5, atol=1e-6)

    def test_certain_branches_are_not_rounded_to_ties(self):
        made, u, r = on_logits()
        with torch.no_grad():
            u[:2], r[:2] = torch.tensor([[70.0], [71.0]]), torch.tensor([[70.0], [71.0]])
        scores = made.predict(torch.empty(0))
        assert (scores[1] > scores[0]).all()


def optim_options(**values):
    from fastlt.config import OptimizerConfig

    return OptimizerConfig(**values)


def test_both_copies_of_a_method_are_one_state():
    made = randomised(method())
    other = method()
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(made.eval().predict(images), other.eval().predict(images))
