"""Averaged weights: an exponential moving average of the parameters, with a warm-up that suits short runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average a of a model's parameters w: a <- d a + (1 - d) w, d = min(decay, (1 + t) / (10 + t)).

    t counts the updates, so that the first steps are forgotten fast. Buffers are not averaged: an averaged model is
    evaluated with the running statistics and other buffers that the model has at that moment. Nothing here waits
    for the device.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Call after each optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.average.values()), self._parameters(model), 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Gives `model` the averaged weights for good."""
        torch._foreach_copy_(self._parameters(model), list(self.average.values()))

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Inside, `model` has the averaged weights; afterwards its own again, bit for bit."""
        parameters = self._parameters(model)
        own = [parameter.clone() for parameter in parameters]
        self.copy_to(model)
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, own)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        return {"updates": self.updates, "average": dict(self.average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` gave, onto the present device."""
        self.updates = state["updates"]
        for name, tensor in self.average.items():
            tensor.copy_(state["average"][name])

    def _parameters(self, model: nn.Module) -> list[Tensor]:
        named = dict(model.named_parameters())
        return [named[name].detach() for name in self.average]
