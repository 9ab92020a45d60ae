"""Averaged weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fastlt.train.ema import AveragedWeights


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def change(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_follows_its_formula(model):
    averaged = AveragedWeights(model, decay=0.5)
    expected = model[0].weight.detach().clone()
    for t in range(20):
        change(model)
        averaged.update(model)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(averaged.average["0.weight"], expected, rtol=1e-12, atol=0)


def test_the_first_update_forgets_most_of_the_start(model):
    averaged = AveragedWeights(model, decay=0.9997)
    start = model[0].weight.detach().clone()
    change(model)
    averaged.update(model)
    torch.testing.assert_close(averaged.average["0.weight"], 0.1 * start + 0.9 * model[0].weight.detach())


def test_swapped_shows_the_average_and_gives_the_own_weights_back(model):
    averaged = AveragedWeights(model, decay=0.9)
    change(model)
    averaged.update(model)
    own = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError), averaged.swapped(model):
        assert torch.equal(model[0].weight, averaged.average["0.weight"])
        assert not torch.equal(model[0].weight, own["0.weight"])
        raise KeyError("an evaluation that fails")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_running_statistics_are_the_models_own(model):
    averaged = AveragedWeights(model, decay=0.9)
    model.train()(torch.randn(8, 3, dtype=torch.float64))
    statistics = model[1].running_mean.clone()
    with averaged.swapped(model):
        assert torch.equal(model[1].running_mean, statistics)


def test_a_saved_average_goes_on_bit_for_bit(model, tmp_path):
    averaged = AveragedWeights(model, decay=0.9)
    for _ in range(3):
        change(model)
        averaged.update(model)
    torch.save(averaged.state_dict(), tmp_path / "state.pt")
    resumed = AveragedWeights(copy.deepcopy(model), decay=0.9)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt"))
    change(model)
    for each in (averaged, resumed):
        each.update(model)
    assert all(torch.equal(tensor, resumed.average[name]) for name, tensor in averaged.average.items())
    assert resumed.updates == 4


def test_copied_weights_stay(model):
    averaged = AveragedWeights(model, decay=0.9)
    start = model[0].weight.detach().clone()
    change(model)
    averaged.copy_to(model)
    assert torch.equal(model[0].weight, start)
