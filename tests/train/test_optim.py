"""Optimisers: named groups, fused kernels, and the rules of torch's plain ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fastlt.config import OptimizerConfig
from fastlt.errors import UserError
from fastlt.train import optim

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, 2))


def groups_of(network: nn.Module, **options) -> list[dict]:
    return [{"name": "all", "params": list(network.parameters()), **options}]


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(5, 3, 4, 4, dtype=next(network.parameters()).dtype)).square().mean().backward()
        optimizer.step()
    return [parameter.detach() for parameter in network.parameters()]


class TestParameterGroups:
    def test_one_group_stays_one(self, network):
        (group,) = optim.parameter_groups(groups_of(network), OptimizerConfig(weight_decay=0.3))
        assert (group["name"], group["weight_decay"], group["lr_scale"]) == ("all", 0.3, 1.0)
        assert len(group["params"]) == 6

    def test_biases_and_norms_are_not_decayed_where_asked(self, network):
        config = OptimizerConfig(weight_decay=0.3, decay_1d=False)
        weights, flat = optim.parameter_groups(groups_of(network), config)
        assert [parameter.ndim for parameter in weights["params"]] == [4, 2]
        assert [parameter.ndim for parameter in flat["params"]] == [1, 1, 1, 1]
        assert (weights["weight_decay"], flat["weight_decay"]) == (0.3, 0.0)
        assert (weights["name"], flat["name"]) == ("all", "all, biases and norms")

    def test_what_a_method_says_of_its_group_stays(self, network):
        given = groups_of(network, lr_scale=0.1, weight_decay=0.0)
        (group,) = optim.parameter_groups(given, OptimizerConfig(weight_decay=0.3))
        assert (group["lr_scale"], group["weight_decay"]) == (0.1, 0.0)

    def test_frozen_parameters_and_empty_groups_are_left_out(self, network):
        network[1].requires_grad_(False)
        groups = [{"name": "norm", "params": list(network[1].parameters())}, *groups_of(network)]
        (group,) = optim.parameter_groups(groups, OptimizerConfig())
        assert len(group["params"]) == 4

    def test_the_given_groups_are_not_written_to(self, network):
        given = groups_of(network)
        optim.parameter_groups(given, OptimizerConfig(decay_1d=False))
        assert given[0].keys() == {"name", "params"}


PLAIN = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.8, weight_decay=0.05, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.8, 0.9), weight_decay=0.05),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.9), weight_decay=0.05),
}


@pytest.mark.parametrize("name", PLAIN)
def test_each_optimiser_is_torchs_fused_one_and_follows_the_plain_one(network, name):
    config = OptimizerConfig(name=name, lr=0.1, momentum=0.8, nesterov=True, betas=(0.8, 0.9), weight_decay=0.05)
    network.double()  # the gradient of a bias before a batch norm is rounding, which Adam's rules make a whole step of
    twin = copy.deepcopy(network)
    optimizer = optim.build(optim.parameter_groups(groups_of(network), config), config, CPU)
    assert optimizer.defaults["fused"]
    expected = train(twin, PLAIN[name](twin.parameters()))
    torch.testing.assert_close(train(network, optimizer), expected, rtol=1e-5, atol=1e-6)


def test_a_saved_optimiser_goes_on_bit_for_bit(network):
    config = OptimizerConfig(name="adamw")
    optimizer = optim.build(optim.parameter_groups(groups_of(network), config), config, CPU)
    train(network, optimizer)
    twin = copy.deepcopy(network)
    resumed = optim.build(optim.parameter_groups(groups_of(twin), config), config, CPU)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert resumed.param_groups[0]["name"] == "all"
    for ours, theirs in zip(train(network, optimizer), train(twin, resumed), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "options, message",
    [({"nesterov": True, "momentum": 0.0}, "[Nn]esterov"), ({"name": "adam", "betas": (1.0, 0.9)}, "beta")],
)
def test_values_that_torch_refuses_are_the_users_to_mend(network, options, message):
    config = OptimizerConfig(**options)
    with pytest.raises(UserError, match=message):
        optim.build(optim.parameter_groups(groups_of(network), config), config, CPU)


def test_a_network_that_learns_nothing_is_refused(network):
    network.requires_grad_(False)
    with pytest.raises(UserError, match="empty parameter list"):
        optim.build(optim.parameter_groups(groups_of(network), OptimizerConfig()), OptimizerConfig(), CPU)
