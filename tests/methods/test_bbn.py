"""The bilateral-branch network against its equations."""

import pytest
import torch
from torch import nn

from fastlt.batch import Batch
from fastlt.config import ModelConfig
from fastlt.methods.bbn import BBN, Options
from fastlt.models import backbones
from fastlt.progress import Progress, TrainingSet

CLASSES = 4


def at(step, steps=10, steps_per_epoch=1):
    return Progress(step, steps, step / steps_per_epoch, steps / steps_per_epoch)


def method(multi_label=True, **options):
    torch.manual_seed(0)
    data = TrainingSet("made", "0", list("abcd"), [60, 20, 5, 1], {}, multi_label, images=80)
    made = BBN(Options(**options), backbones.create(ModelConfig(backbone="cifar_resnet20"), CLASSES), data).double()
    with torch.no_grad():
        made.network.branches["reversed"].network.fc.weight.normal_()  # so that the branches differ
    return made


def batch_of(multi_label=True, size=5):
    generator = torch.Generator().manual_seed(1)
    names = ("uniform", "reversed")
    images = {name: torch.randn(size, 3, 16, 16, generator=generator, dtype=torch.float64) for name in names}
    shape, high = ((size, CLASSES), 2) if multi_label else ((size,), CLASSES)
    kind = torch.int8 if multi_label else torch.int64
    return Batch(images, {n: torch.randint(high, shape, generator=generator).to(kind) for n in names}, {}, {})


def share_of(made, progress):
    """alpha, from losses that weigh alike: the two streams show the same pictures."""
    batch = batch_of()
    same = Batch(batch.images, dict.fromkeys(batch.labels, batch.labels["uniform"]), {}, {})
    terms = made.eval()(same, progress)
    return (terms["uniform"] / (terms["uniform"] + terms["reversed"])).item()


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (4, 1.0), (5, 0.96), (9, 0.96), (10, 0.84), (24, 0.36)])
def test_alpha_falls_along_a_parabola_once_an_epoch(step, share):
    assert share_of(method(), at(step, 25, steps_per_epoch=5)) == pytest.approx(share)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (5, 0.96), (6, 0.9424), (24, 0.0784)])
def test_or_at_every_step(step, share):
    assert share_of(method(whole_epochs=False), at(step, 25, steps_per_epoch=5)) == pytest.approx(share)


@pytest.mark.parametrize("multi_label", [True, False])
def test_logits_and_losses_are_mixed_by_alpha(multi_label):
    """With batch norm in eval mode, so that the two batches can be computed apart."""
    made, batch, share = method(multi_label).eval(), batch_of(multi_label), 0.75
    terms = made(batch, at(5))
    own = {name: made.network(batch.images[name])[name] for name in ("uniform", "reversed")}
    mixed = share * own["uniform"] + (1 - share) * own["reversed"]
    for name, weight in (("uniform", share), ("reversed", 1 - share)):
        if multi_label:
            loss = nn.functional.binary_cross_entropy_with_logits(mixed, batch.labels[name].double())
        else:
            loss = nn.functional.cross_entropy(mixed, batch.labels[name])
        torch.testing.assert_close(terms[name], weight * loss, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("step", "learns", "rests"), [(0, "uniform", "reversed"), (10, "reversed", "uniform")])
def test_at_either_end_one_branch_alone_learns(step, learns, rests):
    made = method().train()
    sum(made(batch_of(), at(step)).values()).backward()
    assert all(p.grad.any() for p in made.network.branches[learns].parameters() if p.ndim > 1)
    assert not any(p.grad.any() for p in made.network.branches[rests].parameters())
    assert made.network.bottom.network.conv1.weight.grad.any()


def test_both_batches_pass_through_the_trunk_as_one():
    made = method().train()
    sizes = []
    made.network.bottom.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    made(batch_of(), at(3))
    assert sizes == [10]


def test_the_streams_are_uniform_and_reversed():
    samplings = {name: spec.stream.sampling for name, spec in method().streams.items()}
    assert samplings == {"uniform": "uniform", "reversed": "reversed"}


@torch.no_grad()
def test_prediction_is_half_of_each_branch_and_each_is_reported_alone():
    made = method().eval()
    images = batch_of().images["uniform"]
    scores, parts = made.predict_parts(images)
    own = made.network(images)
    torch.testing.assert_close(scores, (own["uniform"] + own["reversed"]).float() / 2)
    assert list(parts) == ["uniform", "reversed"] and torch.equal(made.predict(images), scores)
