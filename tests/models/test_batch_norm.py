"""Batch norm over ranks is batch norm over the whole batch."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from fastlt.errors import UserError
from fastlt.models.batch_norm import RankBatchNorm2d, RankBatchNormAct2d, convert

CHANNELS = 3
SIZES = [5, 2]  # images of each of two ranks


def _randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def _cases() -> dict[str, nn.Module]:
    return {
        "plain": nn.BatchNorm2d(CHANNELS),
        "not affine": nn.BatchNorm2d(CHANNELS, affine=False),
        "without running statistics": nn.BatchNorm2d(CHANNELS, track_running_stats=False),
        "plain average of batches": nn.BatchNorm2d(CHANNELS, momentum=None),
        "with activation": BatchNormAct2d(CHANNELS, act_layer=nn.SiLU, inplace=False),
        "two in a row": nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4)),
    }


@pytest.fixture(scope="module")
def ranks_and_truth(tmp_path_factory) -> dict[str, tuple[dict, dict]]:
    """For each case: what two ranks found, put together, and what one process finds on the whole batch."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    cases, truths = {}, {}
    for name, model in _cases().items():
        model = _randomised(model).double()
        x = 3 * torch.randn(sum(SIZES), CHANNELS, 6, 5, dtype=torch.float64) + 7
        cases[name] = (model, x, torch.randn_like(model(x)))
    cases["bfloat16 far from zero"] = _bfloat16_case()
    for name, (model, x, direction) in cases.items():
        truths[name] = _one_process(copy.deepcopy(model).double(), x.double(), direction.double())
    parts = {name: (model, x.split(SIZES), direction.split(SIZES)) for name, (model, x, direction) in cases.items()}
    torch.save(parts, folder / "cases.pt")
    _run_ranks(folder)
    found = [torch.load(folder / f"found{rank}.pt") for rank in range(len(SIZES))]
    return {name: (_together([each[name] for each in found]), truths[name]) for name in cases}


def _bfloat16_case() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    x = (torch.randn(sum(SIZES), CHANNELS, 6, 5) + 100).bfloat16()
    return nn.BatchNorm2d(CHANNELS), x, torch.randn(x.shape).bfloat16()


def _one_process(model: nn.Module, x: torch.Tensor, direction: torch.Tensor) -> dict:
    x = x.detach().requires_grad_()
    out = model.train()(x)
    (out * direction).sum().backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"out": out.detach(), "grad": x.grad, "parameter_grads": grads, "buffers": dict(model.named_buffers())}


def _run_ranks(folder: Path) -> None:
    script = str(Path(__file__).with_name("batch_norm_ranks.py"))
    commands = [[sys.executable, script, str(rank), str(len(SIZES)), str(folder)] for rank in range(len(SIZES))]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def _together(parts: list[dict]) -> dict:
    """The ranks' outputs one after the other; their parameter gradients added, as data parallelism adds them."""
    for name, buffer in parts[0]["buffers"].items():
        assert all(torch.equal(part["buffers"][name], buffer) for part in parts)
    return {
        "out": torch.cat([part["out"] for part in parts]),
        "grad": torch.cat([part["grad"] for part in parts]),
        "parameter_grads": {n: sum(p["parameter_grads"][n] for p in parts) for n in parts[0]["parameter_grads"]},
        "buffers": parts[0]["buffers"],
    }


@pytest.mark.parametrize("case", _cases())
@pytest.mark.parametrize("what", ["out", "grad", "parameter_grads", "buffers"])
def test_two_ranks_with_unequal_batches_equal_one_process(ranks_and_truth, case, what):
    found, truth = ranks_and_truth[case]
    torch.testing.assert_close(found[what], truth[what], rtol=1e-10, atol=1e-10)


def test_bfloat16_keeps_its_type_and_the_precision_of_its_statistics(ranks_and_truth):
    found, truth = ranks_and_truth["bfloat16 far from zero"]
    assert found["out"].dtype == found["grad"].dtype == torch.bfloat16
    torch.testing.assert_close(found["out"].double(), truth["out"], rtol=0.01, atol=0.01)
    torch.testing.assert_close(found["grad"].double(), truth["grad"], rtol=0.01, atol=0.02)
    running = found["buffers"]["running_var"]
    torch.testing.assert_close(running.double(), truth["buffers"]["running_var"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_process_alone_has_torchs_batch_norm(training):
    plain = _randomised(nn.BatchNorm2d(CHANNELS)).train(training)
    ours = convert(copy.deepcopy(plain))
    x = torch.randn(4, CHANNELS, 5, 5)
    assert isinstance(ours, RankBatchNorm2d)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.running_var, plain.running_var)


class TestConvert:
    def test_every_batch_norm_of_a_timm_network_and_nothing_else_changes(self):
        model = timm.create_model("tf_efficientnet_lite0", num_classes=2).eval()
        plain = copy.deepcopy(model)
        convert(model)
        changed = {name for name, module in model.named_modules() if isinstance(module, RankBatchNorm2d)}
        assert changed == {name for name, module in plain.named_modules() if isinstance(module, nn.BatchNorm2d)}
        assert list(model.state_dict()) == list(plain.state_dict())
        x = torch.randn(1, 3, 32, 32)
        assert torch.equal(model(x), plain(x))

    def test_dropout_and_activation_of_a_timm_layer_stay(self):
        layer = BatchNormAct2d(CHANNELS, act_layer=nn.SiLU)
        activation = layer.act
        converted = convert(nn.Sequential(layer))[0]
        assert isinstance(converted, RankBatchNormAct2d)
        assert converted.act is activation

    def test_converting_twice_is_converting_once(self):
        model = convert(convert(nn.Sequential(nn.BatchNorm2d(CHANNELS))))
        assert type(model[0]) is RankBatchNorm2d

    def test_another_kind_of_batch_norm_is_refused_by_name(self):
        with pytest.raises(UserError, match="1 is a BatchNorm1d"):
            convert(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
