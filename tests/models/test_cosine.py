"""The cosine classifier of LDAM."""

import pytest
import timm
import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import backbones
from fastlt.models.cosine import CosineClassifier, replace_classifier


def test_logits_are_cosines_of_features_and_class_weights():
    classifier, features = CosineClassifier(6, 4), torch.randn(5, 6)
    expected = [[torch.cosine_similarity(f, w, dim=0) for w in classifier.weight.detach()] for f in features]
    torch.testing.assert_close(classifier(features).detach(), torch.tensor(expected))
    torch.testing.assert_close(classifier(7 * features), classifier(features))


def test_a_feature_of_zeros_has_a_finite_gradient():
    features = torch.zeros(2, 6, requires_grad=True)
    CosineClassifier(6, 4)(features).sum().backward()
    assert features.grad.isfinite().all()


def test_cosines_are_float32_under_autocast():
    classifier, features = CosineClassifier(6, 4), torch.randn(5, 6, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier(features)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, classifier(features.float()))


@pytest.mark.parametrize("backbone", ["cifar_resnet20", "resnet18", "tf_efficientnet_lite0"])
def test_it_takes_the_place_of_the_linear_one_whatever_that_is_called(backbone):
    model = backbones.create(ModelConfig(backbone=backbone, classifier="cosine"), 7).eval()
    assert isinstance(model.get_classifier(), CosineClassifier)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 7) and logits.abs().max() <= 1 + 1e-6


def test_a_network_without_a_linear_classifier_is_refused():
    model = timm.create_model("resnet18", num_classes=0)
    assert isinstance(model.get_classifier(), nn.Identity)
    with pytest.raises(UserError, match="model.classifier=cosine needs a network that ends in one linear classifier"):
        replace_classifier(model)
