"""The CIFAR ResNets are those of He et al., 2015, section 4.2."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
