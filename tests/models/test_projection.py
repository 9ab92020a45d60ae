"""The head behind which features are compared."""

import pytest
import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.models import backbones
from fastlt.models.projection import Projection, feature_size


def test_one_hidden_layer_as_wide_as_the_features():
    layers = [layer for layer in Projection(64, 128) if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(64, 64), (64, 128)]
    assert Projection(64, 128)(torch.randn(3, 64)).shape == (3, 128)


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18", "mobilenetv3_small_050"])
def test_feature_size_is_that_of_what_stands_before_the_classifier(name):
    """The last of them widens its pooled features there."""
    model = backbones.create(ModelConfig(backbone=name), num_classes=3).eval()
    with torch.no_grad():
        features = model.forward_head(model.forward_features(torch.randn(1, 3, 32, 32)), pre_logits=True)
    assert features.shape == (1, feature_size(model))
