"""Which part of a network is its classifier, and what it sees."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor, nn

from fastlt.errors import UserError
from fastlt.models.cifar_resnet import CifarResNet


def classifier_names(model: nn.Module) -> set[str]:
    """Names of the parameters of the last layer, or layers: distilled transformers have two."""
    heads = model.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    members = {id(parameter) for head in heads for parameter in head.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in members}


def pooled_features(model: nn.Module, images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, D]: what the classifier sees."""
    return model.forward_head(model.forward_features(images), pre_logits=True)


def features_and_logits(model: nn.Module, maps: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Of what `forward_features` gave: what the classifier sees of the first rows [rows, D], and logits of the others
    [B - rows, C]."""
    sizes = [rows, len(maps) - rows]
    if type(model).forward_head in _pooling_heads():  # pooled first: to part the maps costs a copy of them in backward
        first, others = model.forward_head(maps, pre_logits=True).split(sizes)
        return first, model.get_classifier()(others)
    first, others = maps.split(sizes)
    return model.forward_head(first, pre_logits=True), model.forward_head(others)


@functools.cache
def _pooling_heads() -> tuple[Callable, ...]:
    """Heads that are a pooling, dropout and the classifier: with `pre_logits` they do all but the last."""
    from timm.models.resnet import ResNet

    return ResNet.forward_head, CifarResNet.forward_head


def linear_classifier(model: nn.Module, asker: str) -> nn.Linear:
    """The network's classifier. Raises UserError, which names the `asker`, if that is no single linear layer."""
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise UserError(f"{asker} needs a network that ends in one linear classifier; choose another model.backbone")
    return classifier
