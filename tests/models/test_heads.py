"""The heads of networks: dropout, pooling, and as many parameters as published."""

import pytest
import torch
from torch import nn

from fastlt import config as run_config
from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import backbones

PUBLISHED = {
    "resnet101": 43_032_900,
    "resnext50_32x4d": 23_512_644,
    "legacy_xception": 21_339_692,
    "tresnet_m": 29_872_772,
}


def small(**settings):
    return backbones.create(ModelConfig(backbone="resnet18", **settings), num_classes=5).eval()


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_networks_of_the_corel5k_study_have_the_published_numbers_of_parameters(backbone):
    chosen = run_config.load("corel5k/bce", [f"model.backbone={backbone}", "model.init=null"])[0].model
    with torch.device("meta"):
        model = backbones.create(chosen, num_classes=260)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[backbone]
    head = model.get_classifier()
    assert isinstance(head, nn.Linear) and (head.in_features, head.out_features) == (2048, 260)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_features_are_pooled_as_the_recipe_says(pooling):
    model = small(pooling=pooling)
    features = torch.randn(2, 512, 3, 3)
    expected = features.mean((2, 3)) if pooling == "avg" else features.amax((2, 3))
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), expected)


def test_dropout_stands_before_the_classifier_and_acts_in_training_alone():
    model = small(drop_rate=0.5)
    features = torch.ones(1, 512, 1, 1)
    assert torch.equal(model.forward_head(features), model.forward_head(features))
    pooled = model.train().forward_head(features, pre_logits=True)
    assert set(pooled.unique().tolist()) == {0.0, 2.0}


def test_a_network_that_cannot_pool_so_is_refused():
    with pytest.raises(UserError, match="model.pooling=max: cifar_resnet20 averages"):
        backbones.create(ModelConfig(backbone="cifar_resnet20", pooling="max"), num_classes=5)
