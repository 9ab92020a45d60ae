"""A network goes on from what its frozen stages made as it would have gone on by itself."""

import copy

import pytest
import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import backbones
from fastlt.models.frozen_part import FrozenPart, mark
from fastlt.models.two_branch import TwoBranch

IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def network(backbone, stages, cache=True):
    torch.manual_seed(0)
    config = ModelConfig(backbone=backbone, frozen_stages=stages, cache_frozen=cache)
    return backbones.create(config, 5, report=lambda line: None)


def passed_over(model):
    """What the model makes of its own frozen part's features; and these."""
    part = FrozenPart(model)
    features = part.features(model, IMAGES)
    with part.passed_over():
        return model(features), features


@pytest.mark.parametrize(
    ("backbone", "stages", "shape"),
    [
        ("cifar_resnet20", 1, (16, 64, 64)),
        ("cifar_resnet20", 2, (32, 32, 32)),
        ("resnet18", 2, (128, 8, 8)),
        ("tf_efficientnet_lite0", 6, (192, 2, 2)),
        ("regnety_002", 3, (152, 4, 4)),
        ("convnext_atto", 2, (80, 8, 8)),
    ],
)
@torch.no_grad()
def test_the_rest_makes_of_the_features_what_the_whole_makes_of_the_images(backbone, stages, shape):
    model = network(backbone, stages).eval()
    whole = model(IMAGES)
    found, features = passed_over(model)
    assert features.shape == (2, *shape)
    assert torch.equal(found, whole)
    assert torch.equal(model(IMAGES), whole), "and is the network that it was"


def test_the_features_depend_on_the_frozen_weights_alone():
    model = network("cifar_resnet20", 2)
    before = FrozenPart(model).features(model, IMAGES)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    assert torch.equal(FrozenPart(model.train()).features(model, IMAGES), before)
    assert not before.requires_grad


def test_gradients_are_those_of_the_whole():
    model = network("cifar_resnet20", 2).train()
    other = copy.deepcopy(model)
    model(IMAGES).square().sum().backward()
    passed_over(other)[0].square().sum().backward()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None) == (not one.requires_grad), name
        assert one.grad is None or torch.equal(one.grad, two.grad), name


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 2])
def test_branches_go_on_from_it_too(stages):
    model = TwoBranch(network("cifar_resnet20", stages), ("one", "other")).eval()
    whole = model(IMAGES)
    found, features = passed_over(model)
    assert features.shape[1] == 16 * stages
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_nothing_of_it_is_kept_in_a_checkpoint():
    names = network("cifar_resnet20", 2, cache=False).state_dict().keys()
    model = network("cifar_resnet20", 2)
    with FrozenPart(model).passed_over():
        assert model.state_dict().keys() == names


def test_an_error_on_the_way_leaves_the_network_whole():
    model = network("cifar_resnet20", 2)
    part = FrozenPart(model)
    with pytest.raises(ZeroDivisionError), part.passed_over():
        raise ZeroDivisionError
    assert model(IMAGES).shape == (2, 5)


@pytest.mark.parametrize(
    ("backbone", "stages"),
    [("cifar_resnet20", 3), ("vit_tiny_patch16_224", 2)],
    ids=["nothing but the classifier learns", "no feature maps"],
)
def test_a_network_without_such_a_cut_ends_in_one_line(backbone, stages):
    with pytest.raises(UserError, match="model.cache_frozen: .* cannot be cut behind stage") as error:
        network(backbone, stages)
    assert "\n" not in str(error.value)


def test_stages_that_leave_parts_out_by_chance_are_refused():
    model = network("cifar_resnet20", 2, cache=False)
    model.layer2.append(nn.Dropout(0.1))
    state = torch.random.get_rng_state()
    with pytest.raises(UserError, match="leave parts out by chance"):
        mark(model, 2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_stages_that_learn_may_leave_parts_out():
    model = network("cifar_resnet20", 2, cache=False)
    model.layer3.append(nn.Dropout(0.1))
    mark(model, 2)


def test_there_must_be_something_frozen():
    with pytest.raises(ValueError, match="frozen_stages is 0"):
        ModelConfig(cache_frozen=True)
