"""Which part of a network is its classifier."""

from __future__ import annotations

from torch import nn


def classifier_names(model: nn.Module) -> set[str]:
    """Names of the parameters of the last layer, or layers: distilled transformers have two."""
    heads = model.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    members = {id(parameter) for head in heads for parameter in head.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in members}
