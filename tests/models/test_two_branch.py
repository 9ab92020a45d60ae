"""A network cut at its last stage is, branch by branch, the network it was."""

import pytest
import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import backbones
from fastlt.models.batch_norm import RankBatchNorm2d
from fastlt.models.two_branch import TwoBranch

NAMES = ("one", "other")


def network(backbone="cifar_resnet20", **options):
    torch.manual_seed(0)
    return backbones.create(ModelConfig(backbone=backbone, **options), 5, report=lambda line: None)


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "backbone", ["cifar_resnet20", "resnet18", "tf_efficientnet_lite0", "regnety_002", "tresnet_m"]
)
@torch.no_grad()
def test_each_branch_begins_as_the_whole_network(backbone):
    whole = network(backbone).eval()
    x = torch.randn(2, 3, 96, 96)
    for logits in TwoBranch(whole, NAMES).eval()(x).values():
        torch.testing.assert_close(logits, whole(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["cifar_resnet20", "resnet18", "tf_efficientnet_lite0"])
def test_the_parts_hold_each_parameter_once(backbone):
    whole = network(backbone)
    parts = TwoBranch(whole, NAMES)
    assert numbers(parts.bottom) + numbers(parts.branches["one"]) == numbers(whole)
    assert numbers(parts) == numbers(parts.bottom) + 2 * numbers(parts.branches["one"])


def test_a_resnet_is_cut_before_its_last_stage_and_each_branch_has_a_classifier_of_its_own():
    parts = TwoBranch(network("resnet18"), NAMES)
    below = {name.split(".")[1] for name, _ in parts.bottom.named_parameters()}
    above = {name.split(".")[1] for name, _ in parts.branches["one"].named_parameters()}
    assert below == {"conv1", "bn1", "layer1", "layer2", "layer3"} and above == {"layer4", "fc"}


def test_a_branch_learns_in_the_bottom_and_in_itself_alone():
    parts = TwoBranch(network(), NAMES)
    parts(torch.randn(2, 3, 32, 32))["one"].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in parts.branches["one"].parameters())
    assert any(p.grad.any() for p in parts.bottom.parameters())
    assert all(p.grad is None for p in parts.branches["other"].parameters())


def test_cutting_draws_nothing_and_leaves_the_network_as_it_was():
    whole = network()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    torch.manual_seed(3)
    TwoBranch(whole, NAMES)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert whole.training and all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in whole.modules())


def test_what_is_frozen_or_synchronised_stays_so_in_the_parts():
    options = {"frozen_stages": 1, "frozen_batch_norm": True, "sync_batch_norm": True, "drop_rate": 0.3}
    parts = TwoBranch(network(**options), NAMES).train()
    frozen = {name for name, p in parts.bottom.network.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1", "layer1"}
    norms = [module for module in parts.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(isinstance(norm, RankBatchNorm2d) and not norm.training for norm in norms)
    assert all(branch.network.drop.p == 0.3 and branch.training for branch in parts.branches.values())


def test_initial_weights_come_into_every_part(tmp_path):
    source = network()
    nn.init.constant_(source.layer3[2].conv2.weight, 0.25)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    parts = TwoBranch(network(init=str(tmp_path / "weights.pth")), NAMES)
    assert torch.equal(parts.bottom.network.conv1.weight, source.conv1.weight)
    for branch in parts.branches.values():
        assert torch.equal(branch.network.layer3[2].conv2.weight, source.layer3[2].conv2.weight)


def test_parts_are_channels_last():
    parts = TwoBranch(network("resnet18"), NAMES)
    weight = parts.branches["one"].network.layer4[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_what_cannot_be_cut_is_refused_in_one_line():
    with pytest.raises(UserError, match="cannot be cut at its last stage.*such as resnet50") as error:
        TwoBranch(network("vit_tiny_patch16_224"), NAMES)
    assert "\n" not in str(error.value)
