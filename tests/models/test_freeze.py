"""What is frozen neither learns nor moves its running statistics."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from fastlt.errors import UserError
from fastlt.models.batch_norm import RankBatchNorm2d, convert
from fastlt.models.cifar_resnet import CifarResNet
from fastlt.models.freeze import freeze_batch_norm, freeze_stages

FROZEN = {
    "cifar": (lambda: CifarResNet(20, 5), ("conv1", "bn1", "layer1")),
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=5), ("conv1", "bn1", "layer1")),
    "efficientnet": (
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
        ("conv_stem", "bn1", "blocks.0."),
    ),
}


def _after_a_step(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    return model


@pytest.mark.parametrize("network", FROZEN)
def test_stem_and_first_stage_stay_and_the_rest_learns(network):
    build, prefixes = FROZEN[network]
    model = build()
    freeze_stages(model, 1)
    before = copy.deepcopy(model.state_dict())
    after = _after_a_step(model).state_dict()
    frozen = {name for name in before if name.startswith(prefixes)}
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in model.named_parameters()} - frozen


def test_frozen_stages_go_up_to_the_last_one():
    model = CifarResNet(20, 5)
    freeze_stages(model, 3)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["fc.weight", "fc.bias"]


def test_no_stage_is_nothing_at_all():
    model = CifarResNet(20, 5)
    freeze_stages(model, 0)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("stages", [4, 9])
def test_too_many_stages_are_refused_with_the_number_there_is(stages):
    with pytest.raises(UserError, match="CifarResNet has 3 stages"):
        freeze_stages(CifarResNet(20, 5), stages)


def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_scale():
    model = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    freeze_batch_norm(model)
    before = copy.deepcopy(model)
    after = _after_a_step(model)
    for name, buffer in before.named_buffers():
        assert torch.equal(buffer, after.get_buffer(name))
    assert not torch.equal(before.bn1.weight, after.bn1.weight)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), BatchNormAct2d(3), convert(nn.BatchNorm2d(3))])
def test_a_frozen_batch_norm_computes_as_in_eval_mode(layer):
    nn.init.normal_(layer.running_mean)
    x = torch.randn(2, 3, 4, 4)
    expected = copy.deepcopy(layer).eval()(x)
    model = nn.Sequential(layer)
    freeze_batch_norm(model)
    assert torch.equal(model.train()(x), expected)
    assert torch.equal(copy.deepcopy(model).train()(x), expected)


def test_a_synchronised_batch_norm_stays_one_when_frozen():
    model = convert(nn.Sequential(nn.BatchNorm2d(3)))
    freeze_batch_norm(model)
    assert isinstance(model[0], RankBatchNorm2d)
