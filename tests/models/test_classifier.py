"""What a network's classifier sees, and what it makes of it."""

from __future__ import annotations

import pytest
import torch

from fastlt.config import ModelConfig
from fastlt.models import backbones
from fastlt.models.classifier import features_and_logits

# heads of a pooling and a linear layer; a layer between them; a convolution that classifies; attention
NETWORKS = [
    "cifar_resnet8",
    "cifar_resnet34",
    "resnet18",
    "mobilenetv3_small_050",
    "resnetv2_50",
    "vit_tiny_patch16_224",
]


@pytest.mark.parametrize("backbone", NETWORKS)
def test_features_of_some_rows_and_logits_of_the_others_are_those_of_the_networks_own_head(backbone):
    torch.manual_seed(0)
    model = backbones.create(ModelConfig(backbone=backbone), 5).double().eval()
    side = 224 if "vit" in backbone else 32
    maps = model.forward_features(torch.randn(5, 3, side, side, dtype=torch.float64)).detach().requires_grad_()
    found = features_and_logits(model, maps, 3)
    wanted = model.forward_head(maps[:3], pre_logits=True), model.forward_head(maps[3:])
    for one, other in zip((*found, *gradients(found, maps)), (*wanted, *gradients(wanted, maps)), strict=True):
        assert torch.allclose(one, other)


def test_the_gradient_of_pooled_maps_is_a_view():
    model = backbones.create(ModelConfig(backbone="cifar_resnet8"), 5)
    maps = model.forward_features(torch.randn(5, 3, 32, 32)).detach().requires_grad_()
    (gradient,) = gradients(features_and_logits(model, maps, 3), maps)
    assert gradient.stride()[2:] == (0, 0)


@pytest.mark.parametrize("backbone", ["cifar_resnet8", "resnet18", "mobilenetv3_small_050"])
def test_dropout_acts_before_the_classifier(backbone):
    torch.manual_seed(0)
    model = backbones.create(ModelConfig(backbone=backbone, drop_rate=1 - 1e-9), 5).train()
    maps = model.forward_features(torch.randn(6, 3, 32, 32))
    _, logits = features_and_logits(model, maps, 3)
    assert torch.equal(logits, model.get_classifier().bias.expand(3, 5))


def gradients(results, maps):
    return torch.autograd.grad(sum(result.square().sum() for result in results), maps)
