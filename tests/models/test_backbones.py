"""`create` builds what a recipe's model section describes."""

from __future__ import annotations

import pytest
import torch

from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import backbones
from fastlt.models.batch_norm import RankBatchNorm2d


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_every_backbone_has_one_interface(name):
    model = backbones.create(ModelConfig(backbone=name), num_classes=7).eval()
    x = torch.randn(2, 3, 224, 224) if "vit" in name else torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(x)
        assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
        assert torch.equal(model.forward_head(features), model(x))
        assert model(x).shape == (2, 7)


def test_convolutions_are_channels_last():
    model = backbones.create(ModelConfig(backbone="resnet18"), num_classes=2)
    assert model.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_torchs_seed_alone_decides_the_start():
    config = ModelConfig(backbone="cifar_resnet20")
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(backbones.create(config, 5).state_dict()["layer2.0.conv1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_all_options_together():
    config = ModelConfig(
        backbone="cifar_resnet20", drop_rate=0.3, frozen_stages=2, frozen_batch_norm=True, sync_batch_norm=True
    )
    model = backbones.create(config, 5).train()
    assert model.drop.p == 0.3
    assert not model.layer2[0].conv1.weight.requires_grad
    assert model.layer3[0].conv1.weight.requires_grad
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(isinstance(norm, RankBatchNorm2d) and not norm.training for norm in norms)


def test_initial_weights_are_loaded_and_reported(tmp_path):
    source = backbones.create(ModelConfig(backbone="cifar_resnet20"), 9)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    lines = []
    config = ModelConfig(backbone="cifar_resnet20", init=str(tmp_path / "weights.pth"))
    model = backbones.create(config, 5, report=lines.append)
    assert torch.equal(model.layer3[2].conv2.weight, source.layer3[2].conv2.weight)
    assert len(lines) == 1
    assert "100.0%" in lines[0]


@pytest.mark.parametrize(
    "name, hint", [("resnet5", "resnet50"), ("cifar_resnet33", "cifar_resnet32"), ("resnet18.nothing", "nothing")]
)
def test_an_unknown_backbone_is_named_with_the_nearest(name, hint):
    with pytest.raises(UserError, match=f"model.backbone={name}.*{hint}"):
        backbones.create(ModelConfig(backbone=name), 5)
