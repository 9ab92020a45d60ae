"""TResNet's weights as their authors store them, under the names that timm's network has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

_THEIR_FIRST = "body.conv1.0.weight"


def in_timm_names(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """`state` itself unless it is a TResNet's of its authors (TResNet, ASL, ImageNet-21K, CSL), and `model` timm's.

    Theirs nest convolution and norm without names, and hold the scale of an InPlaceABN, which the norm uses as
    |weight| + 1e-5 (Ridnik et al., "TResNet", WACV 2021); timm knows both.
    """
    from timm.models import tresnet

    if not isinstance(model, tresnet.TResNet) or not any(name.endswith(_THEIR_FIRST) for name in state):
        return state
    return tresnet.checkpoint_filter_fn(dict(state), model)
