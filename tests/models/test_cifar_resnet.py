"""The CIFAR ResNets are those of He et al., 2015, section 4.2."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.models import backbones
from fastlt.models.cifar_resnet import DEPTHS, BasicBlock, CifarResNet


@pytest.mark.parametrize("depth, millions", [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameter_counts_of_the_papers_table_6(depth, millions):
    count = sum(parameter.numel() for parameter in CifarResNet(depth, 10).parameters())
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_convolutions_and_the_classifier(depth):
    layers = [m for m in CifarResNet(depth, 10).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_a_new_stage_halves_the_picture_and_pads_new_channels_with_zeros():
    block = BasicBlock(16, 32, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)  # only the shortcut is left
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_has_timms_interface():
    model = CifarResNet(20, 10).eval()
    features = model.forward_features(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 64, 8, 8)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert model.forward_head(features).shape == (2, 10)
    model.reset_classifier(0)
    assert torch.equal(model.forward_head(features), model.forward_head(features, pre_logits=True))


def test_a_signal_keeps_its_scale_at_the_start():
    torch.manual_seed(0)
    model = CifarResNet(56, 10).train()
    assert 0.1 < model(torch.randn(16, 3, 32, 32)).std() < 10


def test_dropout_acts_in_training_alone():
    model = CifarResNet(20, 10, drop_rate=0.5)
    features = torch.randn(2, 64, 8, 8)
    dropped = model.train().forward_head(features, pre_logits=True) == 0
    assert dropped.any()
    assert not (model.eval().forward_head(features, pre_logits=True) == 0).any()


class TestPooling:
    def test_its_gradient_is_a_view_of_one_value_a_map(self):
        model, found = CifarResNet(20, 10), []
        features = torch.randn(2, 64, 8, 8, requires_grad=True)
        features.register_hook(found.append)
        model.forward_head(features).sum().backward()
        assert found[0].stride()[2:] == (0, 0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
    def test_is_the_mean_in_every_type(self, dtype):
        x = (torch.randn(2, 64, 8, 8, dtype=torch.float64) + 4096).to(dtype)  # sums of 64 overflow in float16
        pooled = CifarResNet(20, 10).forward_head(x, pre_logits=True)
        assert pooled.dtype == dtype
        assert torch.allclose(pooled, x.double().mean((2, 3)).to(dtype))


class TestSmallStem:
    """timm's ResNet-34 for pictures of 32 x 32."""

    def model(self):
        return backbones.create(ModelConfig(backbone="cifar_resnet34"), 10).eval()

    def test_the_last_stage_sees_an_eighth_of_the_side(self):
        with torch.no_grad():
            assert self.model().forward_features(torch.randn(1, 3, 32, 32)).shape == (1, 512, 4, 4)

    def test_all_but_the_first_convolution_is_timms(self):
        own, timms = self.model().state_dict(), timm.create_model("resnet34", num_classes=10).state_dict()
        assert list(own) == list(timms)
        differing = [name for name in own if own[name].shape != timms[name].shape]
        assert differing == ["conv1.weight"] and own["conv1.weight"].shape == (64, 3, 3, 3)

    def test_its_first_convolution_is_initialised_as_the_others(self):
        spread = self.model().conv1.weight.std().item()
        assert spread == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)

    def test_can_be_frozen_from_the_stem_on(self):
        model = backbones.create(ModelConfig(backbone="cifar_resnet34", frozen_stages=1), 10)
        frozen = {name.partition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
        assert frozen == {"conv1", "bn1", "layer1"}
