"""A network in the CPU's forms is the same network: its training, its weights, and what it does elsewhere."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fastlt.config import ModelConfig
from fastlt.models import backbones, cpu_forms, freeze
from fastlt.models.cifar_resnet import CifarResNet
from fastlt.models.fused_norm import DoneReLU, FusedBasicBlock, FusedBottleneck, FusedCifarBlock, NormReLU2d
from fastlt.models.pointwise import LEAST_WEIGHTS, PointwiseConv2d
from fastlt.ops import norm

needs_library = pytest.mark.skipif(not norm.available(), reason="the compiled library is not there")
NETWORKS = {
    "cifar_resnet8": lambda: CifarResNet(8, 5),
    "resnet18": lambda: timm.create_model("resnet18", num_classes=5),
    "resnet50": lambda: timm.create_model("resnet50", num_classes=5),
    "resnet50d": lambda: timm.create_model("resnet50d", num_classes=5),
    "resnext50_32x4d": lambda: timm.create_model("resnext50_32x4d", num_classes=5),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[name]().to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm's last norm of a block begins with 0
            nn.init.uniform_(module.weight, 0.2, 1)
            nn.init.uniform_(module.bias, 0.1, 0.5)
    return network


def kinds(network: nn.Module) -> set[type]:
    return {type(module) for module in network.modules()}


def picture(dtype=torch.float32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 3, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)


def step(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The logits, every gradient and every buffer after a pass forward and backward in training."""
    logits = network.train()(x)
    F.cross_entropy(logits, torch.arange(len(x))).backward()
    found = {"logits": logits.detach()} | dict(network.named_buffers())
    return found | {f"gradient of {name}": p.grad for name, p in network.named_parameters()}


@needs_library
@pytest.mark.parametrize("name", NETWORKS)
def test_trains_as_the_usual_network_does(name):
    usual = made(name).double()
    changed = cpu_forms.take(copy.deepcopy(usual))
    wanted, found = step(usual, picture(torch.float64)), step(changed, picture(torch.float64))
    assert NormReLU2d in kinds(changed)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.allclose(found[key].double(), value.double(), rtol=1e-8, atol=1e-10), key


@needs_library
@pytest.mark.parametrize("name", NETWORKS)
def test_every_norm_before_a_relu_is_one_with_it_but_within_a_deep_stem(name):
    network = cpu_forms.take(made(name))
    left = [
        n for n, m in network.named_modules() if type(m) is nn.BatchNorm2d and not re.search(r"downsample|^conv1", n)
    ]
    assert left == []


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluates_as_the_usual_network_does(name):
    usual = made(name).eval()
    changed = cpu_forms.take(copy.deepcopy(usual))
    with torch.inference_mode():
        assert torch.allclose(changed(picture()), usual(picture()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_given_up_is_of_the_usual_classes(name):
    usual = made(name)
    changed = cpu_forms.give_up(cpu_forms.take(copy.deepcopy(usual)))
    assert [type(m) for m in changed.modules()] == [type(m) for m in usual.modules()]
    assert torch.equal(changed.eval()(picture()), usual.eval()(picture()))


@needs_library
def test_what_was_frozen_afterwards_cannot_be_given_up():
    network = cpu_forms.take(made("resnet18"))
    freeze.freeze_batch_norm(network)
    with pytest.raises(ValueError, match="FrozenNormReLU2d"):
        cpu_forms.give_up(network)


@needs_library
def test_an_unpickled_network_trains_in_a_process_that_has_no_library_yet(tmp_path):
    network = cpu_forms.take(made("cifar_resnet8"))
    torch.save(network, tmp_path / "network.pt")
    program = "import sys, torch; torch.load(sys.argv[1], weights_only=False)(torch.zeros(2, 3, 32, 32).contiguous("
    program += "memory_format=torch.channels_last)).sum().backward()"
    subprocess.run([sys.executable, "-c", program, tmp_path / "network.pt"], check=True)


def test_names_of_weights_stay():
    usual = made("resnet50")
    assert list(cpu_forms.take(copy.deepcopy(usual)).state_dict()) == list(usual.state_dict())


@needs_library
def test_a_changed_network_is_copied_and_pickled():
    network = cpu_forms.take(made("cifar_resnet8"))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert kinds(other) == kinds(network) >= {NormReLU2d, DoneReLU, FusedCifarBlock}


@needs_library
@pytest.mark.parametrize(
    "options",
    [{"sync_batch_norm": True}, {"frozen_batch_norm": True}],
    ids=["over all ranks", "with held statistics"],
)
def test_norms_with_another_rule_stay_as_they_are(options):
    network = backbones.create(ModelConfig(backbone="resnet18", **options), 5)
    assert not kinds(network) & {NormReLU2d, FusedBasicBlock}


@needs_library
def test_frozen_stages_stay_as_they_are_and_the_others_change():
    network = backbones.create(ModelConfig(backbone="resnet18", frozen_stages=2), 5)
    assert kinds(network.layer2) & {NormReLU2d, FusedBasicBlock} == set()
    assert kinds(network.layer3) >= {NormReLU2d, FusedBasicBlock}


@needs_library
@pytest.mark.parametrize("name, fused", [("seresnet50", 0), ("resnetblur50", 13)])
def test_blocks_with_something_between_a_norm_and_its_relu_stay_as_they_are(name, fused):
    usual = timm.create_model(name, num_classes=5).to(memory_format=torch.channels_last).double()
    changed = cpu_forms.take(copy.deepcopy(usual))
    assert sum(type(module) is FusedBottleneck for module in changed.modules()) == fused
    assert torch.allclose(
        step(usual, picture(torch.float64))["logits"], step(changed, picture(torch.float64))["logits"]
    )


@needs_library
@pytest.mark.parametrize("backbone", ["cifar_resnet8", "resnet18", "resnet50"])
def test_blocks_keep_their_input_in_place_of_their_output_where_it_is_the_shortcut(backbone, monkeypatch):
    network, asked = cpu_forms.take(made(backbone)), {}
    operator = norm.batch_norm_relu

    def asking(x, residual, *others):
        if residual is not None:
            asked.setdefault(others[-1], []).append(tuple(residual.shape))
        return operator(x, residual, *others)

    monkeypatch.setattr(norm, "batch_norm_relu", asking)
    step(network, picture())
    turned = 2 if "cifar" in backbone else 4 if backbone == "resnet50" else 3  # where a stage begins with other shapes
    blocks = sum(type(module).__name__.startswith("Fused") for module in network.modules())
    assert len(asked[False]) == turned
    assert len(asked.get(True, [])) == blocks - turned


@needs_library
def test_a_block_with_dropped_paths_stays_as_it_is():
    network = cpu_forms.take(timm.create_model("resnet50", drop_path_rate=0.5))
    assert type(network.layer4[2]) is not FusedBottleneck
    assert type(network.layer1[0]) is FusedBottleneck


@needs_library
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["served", "torch's own way"])
def test_running_statistics_are_those_of_batch_norm(layout):
    torch.manual_seed(0)
    usual = nn.BatchNorm2d(16, momentum=0.3).double()
    fused = copy.deepcopy(usual)
    fused.__class__ = NormReLU2d
    for _ in range(3):
        x = (5 * torch.randn(4, 16, 6, 5, dtype=torch.float64) + 7).to(memory_format=layout)
        residual = torch.randn_like(x)
        assert torch.allclose(fused(x, residual), F.relu(usual(x) + residual))
    for one, other in zip(fused.buffers(), usual.buffers(), strict=True):
        assert torch.allclose(one, other)


@needs_library
def test_bfloat16_trains_under_autocast():
    network, x = cpu_forms.take(made("cifar_resnet8")), picture()
    with torch.autocast("cpu", torch.bfloat16):
        found = step(network, x)
    wanted = step(made("cifar_resnet8"), x)
    assert torch.allclose(found["logits"].float(), wanted["logits"], atol=0.1)
    assert all(value.dtype == torch.float32 for key, value in found.items() if key.startswith("gradient"))


def test_one_value_a_channel_is_refused_in_torchs_words():
    norm_relu = nn.BatchNorm2d(8)
    norm_relu.__class__ = NormReLU2d
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(torch.zeros(1, 8, 1, 1))


@pytest.mark.parametrize("stride", [1, 2, (3, 1)], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_a_large_pointwise_convolution_is_a_product_with_the_same_result(bias, stride):
    torch.manual_seed(0)
    usual = nn.Conv2d(512, 400, 1, stride, bias=bias).double().to(memory_format=torch.channels_last)
    x = torch.randn(2, 512, 5, 3).to(memory_format=torch.channels_last)
    product = copy.deepcopy(usual).float()
    assert PointwiseConv2d.is_form_of(product)
    product.__class__ = PointwiseConv2d
    wanted, found = usual(x.double()), product(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(found.double(), wanted, atol=1e-5)
    wanted.square().sum().backward()
    found.square().sum().backward()
    for one, other in zip(product.parameters(), usual.parameters(), strict=True):
        assert one.grad.stride() == other.grad.stride() == one.stride()
        assert torch.allclose(one.grad.double(), other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(512, 512, 1, padding=1),
        nn.Conv2d(512, 512, 3),
        nn.Conv2d(1024, 1024, 1, groups=2),
        nn.Conv2d(64, LEAST_WEIGHTS // 64 - 1, 1),
    ],
    ids=["padding", "kernel", "groups", "small"],
)
def test_other_convolutions_stay_as_they_are(other):
    assert not PointwiseConv2d.is_form_of(other)
