"""Modules of a network in forms that compute the same, and are faster where a CPU trains.

The classes of modules are exchanged, as `batch_norm.convert` does: names and parameters stay, so weights fit both ways.
Each form has torch's own way in it for whatever it does not serve, such as a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models import resnet
from torch import nn

from fastlt.models import cifar_resnet, fused_norm
from fastlt.models.pointwise import PointwiseConv2d
from fastlt.ops import norm

_BLOCKS = {
    resnet.BasicBlock: fused_norm.FusedBasicBlock,
    resnet.Bottleneck: fused_norm.FusedBottleneck,
    cifar_resnet.BasicBlock: fused_norm.FusedCifarBlock,
}
_PARTS = {nn.BatchNorm2d: fused_norm.NormReLU2d, nn.ReLU: fused_norm.DoneReLU, nn.Conv2d: PointwiseConv2d}
_FORMS = _BLOCKS | _PARTS
_RESNETS = (resnet.ResNet, cifar_resnet.CifarResNet)
_BETWEEN = ("aa", "se", "drop_block", "drop_path")  # what timm's blocks may have between a norm and its ReLU


def take(network: nn.Module) -> nn.Module:
    """In place: large 1 x 1 convolutions, and, where the compiled library is, norms and ReLUs of ResNets' stems and
    blocks that learn. To be called when all else that exchanges classes, such as freezing, is done."""
    _exchange(_PARTS, *filter(PointwiseConv2d.is_form_of, network.modules()))
    if norm.available():
        for module in network.modules():
            if isinstance(module, _RESNETS) and _is_plain(module, ["bn1"]):
                _exchange(_PARTS, module.bn1, module.act1)
            elif type(module) in _BLOCKS and _is_plain(module, _norms(module)):
                _exchange(_FORMS, module, *(getattr(module, name) for name in _norms(module)))
    return network


def give_up(network: nn.Module) -> nn.Module:
    """In place: every module is of its usual class again. Raises ValueError for a form of yet another class."""
    _exchange({form: usual for usual, form in _FORMS.items()}, *network.modules())
    left = [type(module).__name__ for module in network.modules() if isinstance(module, tuple(_FORMS.values()))]
    if left:
        raise ValueError(f"{left[0]} has no usual class")
    return network


def _exchange(classes: dict[type, type], *modules: nn.Module) -> None:
    for module in modules:
        module.__class__ = classes.get(type(module), type(module))


def _norms(block: nn.Module) -> list[str]:
    return [name for name in ("bn1", "bn2", "bn3") if hasattr(block, name)]


def _is_plain(module: nn.Module, norms: Sequence[str]) -> bool:
    """Whether these are nn.BatchNorm2d as usual with nn.ReLU behind, and nothing is between."""
    acts = [getattr(module, name.replace("bn", "act"), None) for name in norms]
    between = [getattr(module, name, None) for name in _BETWEEN]
    return (
        all(_is_usual(getattr(module, name)) for name in norms)
        and all(act is None or type(act) is nn.ReLU for act in acts)
        and all(part is None or type(part) is nn.Identity for part in between)
    )


def _is_usual(bn: nn.Module) -> bool:
    return type(bn) is nn.BatchNorm2d and bn.affine and bn.track_running_stats and bn.momentum is not None
