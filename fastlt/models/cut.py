"""Where a network is cut between two of its stages: found by watching one forward pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastlt.models.freeze import stage_parameters

_PROBE_SIDE = 128  # pixels of the picture on which parts are compared with the whole


class NoCut(ValueError):
    """A network none of whose modules belongs to the later stages alone."""


def sides(network: nn.Module, stages: int) -> tuple[list[str], list[str]]:
    """The outermost modules that run before the cut behind the stem and `stages - 1` stages, and those from there on,
    each in the order in which they begin in a forward pass.

    The later stages begin with the first module that holds parameters, and none of the earlier stages. Raises NoCut.
    """
    bottom_parameters = {name for stage in stage_parameters(network)[:stages] for name in stage}
    calls = _calls(network)
    cut = next((begin for name, (begin, _) in calls.items() if _is_top(network, name, bottom_parameters)), None)
    if cut is None:
        raise NoCut
    before = {name for name, (_, end) in calls.items() if end < cut}
    behind = {name for name, (begin, _) in calls.items() if begin >= cut}
    return tuple(sorted(_outermost(side), key=lambda name: calls[name][0]) for side in (before, behind))


def _is_top(network: nn.Module, name: str, bottom_parameters: set[str]) -> bool:
    inside = [f"{name}.{parameter}" for parameter, _ in network.get_submodule(name).named_parameters()]
    return bool(inside) and not bottom_parameters.intersection(inside)


def _calls(network: nn.Module) -> dict[str, tuple[int, int]]:
    """When each module began first and ended last, counted in events, in the order of their beginnings."""
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    events = itertools.count()

    def begin(name: str) -> Callable[..., None]:
        def hook(*_) -> None:
            begins.setdefault(name, next(events))

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(*_) -> None:
            ends[name] = next(events)

        return hook

    handles = []
    for name, module in network.named_modules():
        if name:
            handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end(name))]
    try:
        run(network)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (first, ends[name]) for name, first in begins.items()}


def _outermost(names: set[str]) -> set[str]:
    def parents(name: str) -> set[str]:
        parts = name.split(".")
        return {".".join(parts[:count]) for count in range(1, len(parts))}

    return {name for name in names if not parents(name) & names}


@torch.no_grad()
def run(*parts: nn.Module) -> Tensor:
    """What the parts make of one small made picture, one after the other, in eval mode."""
    x = probe(parts[0])
    training = [part.training for part in parts]
    for part in parts:
        x = part.eval()(x)
    for part, was in zip(parts, training, strict=True):
        part.train(was)
    return x


def probe(network: nn.Module) -> Tensor:
    """A small made picture that the network takes, [1, 3, H, W]."""
    side = _side(getattr(network, "network", network))
    parameter = next(network.parameters())
    return torch.linspace(-1, 1, 3 * side * side, dtype=parameter.dtype, device=parameter.device).view(1, 3, side, side)


def _side(network: nn.Module) -> int:
    """Pixels of the picture's side: small, but for a network that takes one size alone."""
    settings = getattr(network, "pretrained_cfg", None) or {}
    return settings["input_size"][-1] if settings.get("fixed_input_size") else _PROBE_SIDE
