"""`create`: the network that a recipe's `model` section describes."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
from torch import nn

from fastlt.config import ModelConfig
from fastlt.errors import UserError
from fastlt.models import batch_norm, cifar_resnet, cosine, cpu_forms, freeze, frozen_part, weights

_CIFAR = {f"cifar_resnet{depth}": depth for depth in cifar_resnet.DEPTHS}
_SMALL_STEM = {"cifar_resnet34": "resnet34"}  # timm's, which is wider, for 32 x 32 pictures too


def create(config: ModelConfig, num_classes: int, report: Callable[[str], None] = print) -> nn.Module:
    """A network [B, 3, H, W] -> logits [B, num_classes], channels-last, with initial weights and frozen parts.

    It has `num_features`, `forward_features(x)` and `forward_head(x, pre_logits)`. `report` gets one line on the
    initial weights. Raises UserError for an unknown backbone and for weights that do not fit.
    """
    model = _build(config, num_classes)
    if config.classifier == "cosine":
        cosine.replace_classifier(model)
    if config.init is not None:
        report(str(weights.load_initial(model, config.init, config.keep_head, num_classes)))
    if config.sync_batch_norm:
        batch_norm.convert(model)
    freeze.freeze_stages(model, config.frozen_stages)
    if config.frozen_batch_norm:
        freeze.freeze_batch_norm(model)
    cpu_forms.take(model)
    if config.cache_frozen:
        frozen_part.mark(model, config.frozen_stages)
    return model.to(memory_format=torch.channels_last)


def _build(config: ModelConfig, num_classes: int) -> nn.Module:
    if config.backbone in _CIFAR:
        if config.pooling == "max":
            raise UserError(f"model.pooling=max: {config.backbone} averages; leave it out or take a network of timm's")
        return cifar_resnet.CifarResNet(_CIFAR[config.backbone], num_classes, config.drop_rate)
    import timm

    head = {"num_classes": num_classes, "drop_rate": config.drop_rate}
    if config.pooling:
        head["global_pool"] = config.pooling
    if config.backbone in _SMALL_STEM:
        wide = timm.create_model(_SMALL_STEM[config.backbone], **head)
        return cifar_resnet.with_small_stem(wide)
    if not timm.is_model(config.backbone.partition(".")[0]):
        raise UserError(f"model.backbone={config.backbone}: no such network; {_nearest(config.backbone)}")
    try:
        return timm.create_model(config.backbone, **head)
    except RuntimeError as error:  # such as an unknown tag behind the dot
        raise UserError(f"model.backbone={config.backbone}: {error}") from error


def _nearest(name: str) -> str:
    import timm

    near = difflib.get_close_matches(name, [*_CIFAR, *_SMALL_STEM, *timm.list_models()], 3, 0.5)
    return f"did you mean {', '.join(near)}?" if near else f"use a timm network or one of {', '.join(_CIFAR)}"
