"""What of a network does not learn: its first stages, or the running statistics of its batch norms."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastlt.errors import UserError
from fastlt.models.classifier import classifier_names


def freeze_stages(model: nn.Module, stages: int) -> None:
    """The stem and the first `stages` stages stop learning, their batch norms stay in eval mode.

    A stage is what timm's `group_matcher(coarse=True)` calls one (`layer1` of a ResNet); 0 freezes nothing.
    Raises UserError if the network has fewer stages.
    """
    if stages == 0:
        return
    groups = stage_parameters(model)
    available = len(groups) - 1  # without the stem
    if stages > available:
        raise UserError(
            f"model.frozen_stages={stages}: {type(model).__name__} has {available} stages; set it to 0..{available}"
        )
    parameters = dict(model.named_parameters())
    for name in (name for group in groups[: stages + 1] for name in group):
        parameters[name].requires_grad_(False)
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and own and not any(parameter.requires_grad for parameter in own):
            _hold_statistics(module)


def freeze_batch_norm(model: nn.Module) -> None:
    """Every batch norm keeps and uses its running statistics, also after `model.train()`; scale and shift learn."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            _hold_statistics(module)


def stage_parameters(model: nn.Module) -> list[list[str]]:
    """Parameter names of the stem and of each stage; what stands behind the last stage is left out."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        raise UserError(f"{type(model).__name__} does not say what its stages are; set model.frozen_stages=0")
    groups = group_parameters(model, model.group_matcher(coarse=True))
    classifier = classifier_names(model)
    return [names for _, names in sorted(groups.items()) if not classifier.intersection(names)]


class _EvalMode:
    """Mixed into the class of one module: `train()` leaves it in eval mode."""

    def train(self, mode: bool = True):
        return super().train(False)


def _hold_statistics(module: nn.Module) -> None:
    kind = type(module)
    if not issubclass(kind, _EvalMode):
        module.__class__ = type(f"Frozen{kind.__name__}", (_EvalMode, kind), {})
    module.eval()
