"""The frozen stages of a network as a part that training may pass over, with what they once made in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fastlt.errors import UserError
from fastlt.models import cut

# Marks of modules: they stay on the copies that methods make of a network and of its parts.
_INSIDE, _ENTRY = "_fastlt_inside_frozen_part", "_fastlt_behind_frozen_part"


def mark(network: nn.Module, stages: int) -> None:
    """Tells later `FrozenPart`s which modules of `network` belong to the stem and its first `stages` stages.

    Raises UserError where the rest does not compute from their output alone what the whole does.
    """
    try:
        before, behind = cut.sides(network, stages + 1)
    except cut.NoCut as error:
        raise _no_cut(network, stages) from error
    for name in before:
        setattr(network.get_submodule(name), _INSIDE, True)
    setattr(network.get_submodule(behind[0]), _ENTRY, True)
    _check(network, stages)


class FrozenPart:
    """That of a network which `mark` has seen, or of a method around one."""

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._inside = [module for module in modules if hasattr(module, _INSIDE)]
        self._entries = [module for module in modules if hasattr(module, _ENTRY)]

    def features(self, forward: Callable[[Tensor], object], images: Tensor) -> Tensor:
        """[B, C, h, w]: what the part makes of images [B, 3, H, W] in `forward`, a pass through the model."""
        handles = [entry.register_forward_pre_hook(_catch) for entry in self._entries]
        try:
            forward(images)
        except _Caught as caught:
            return caught.args[0]
        finally:
            for handle in handles:
                handle.remove()
        raise AssertionError("the pass went around the frozen part")

    @contextmanager
    def passed_over(self) -> Iterator[None]:
        """In this context the model takes `features` in place of images."""
        for module in self._inside:
            module.forward = _unchanged
        try:
            yield
        finally:
            for module in self._inside:
                del module.forward


class _Caught(Exception):
    """Ends a pass as soon as the features are there."""


def _catch(module: nn.Module, inputs: tuple) -> None:
    raise _Caught(*inputs)


def _unchanged(x: Tensor) -> Tensor:
    return x


@torch.no_grad()
def _check(network: nn.Module, stages: int) -> None:
    whole = cut.run(network)
    part, images, training = FrozenPart(network), cut.probe(network), network.training
    try:
        features = part.features(network.eval(), images)
        with part.passed_over():
            same = features.ndim == 4 and torch.allclose(network(features), whole, rtol=1e-4, atol=1e-5)
        with torch.random.fork_rng(devices=[]):
            drawn = [part.features(network.train(), images) for _ in range(2)]
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        raise _no_cut(network, stages) from error
    finally:
        network.train(training)
    if not same:
        raise _no_cut(network, stages)
    if not all(torch.allclose(one, features, rtol=1e-4, atol=1e-5) for one in drawn):
        raise UserError(
            f"model.cache_frozen: in training the frozen stages of {type(network).__name__} leave parts out by chance, "
            "and so make something else of a picture each time; leave model.cache_frozen out"
        )


def _no_cut(network: nn.Module, stages: int) -> UserError:
    return UserError(
        f"model.cache_frozen: {type(network).__name__} cannot be cut behind stage {stages} into a part that gives one "
        "feature map and a part that takes it; set model.frozen_stages to fewer, or leave model.cache_frozen out"
    )
