"""Trains the networks of G images at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastlt.hashing import key, normal, uniform
from fastlt.wgan.networks import Critic, Generator, gradient_penalty, initialise
from fastlt.wgan.settings import SAVED, Settings

NOISE, SHARE, FLIP = 0, 2, 3  # lanes of the draws; noise takes two


@dataclass
class Draws:
    """All that is random while training, a function of the images' keys [G] and of the place in training alone."""

    settings: Settings
    keys: np.ndarray  # uint64 [G]
    device: torch.device
    dtype: torch.dtype

    def noise(self, iteration: int, step: int) -> Tensor:
        """[G, noise]"""
        first = self._place(iteration, step) * self.settings.noise
        return self._tensor(normal(self.keys[:, None], first + np.arange(self.settings.noise), NOISE))

    def share(self, iteration: int, step: int) -> Tensor:
        """[G], in [0, 1)"""
        return self._tensor(uniform(self.keys, self._place(iteration, step), SHARE))

    def upside_down(self, iteration: int) -> Tensor:
        """bool [G]"""
        chosen = uniform(self.keys, iteration, FLIP) < self.settings.vertical_flip
        return torch.from_numpy(chosen).to(self.device)

    def _place(self, iteration: int, step: int) -> int:
        return iteration * (self.settings.critic_steps + 1) + step

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device, self.dtype)


class Training:
    """The networks of the pictures `real` [G, 3, H, W] in [-1, 1]; image g is random by seeds[g] alone.

    With another G, sums may be taken in another order; rounding grows while GANs train, so that the picture in the
    end is then another one of the same kind.
    """

    def __init__(self, real: Tensor, seeds: list[int], settings: Settings):
        self.settings, self.real = settings, real
        with real.device:
            self.generator = Generator(len(real), settings).to(real.dtype)
            self.critic = Critic(len(real), settings).to(real.dtype)
        initialise([self.generator, self.critic], [key(seed, "weights") for seed in seeds], real.device)
        self.draws = Draws(settings, np.array(seeds, np.uint64), real.device, real.dtype)
        self._optimizers = [
            torch.optim.Adam(network.parameters(), settings.lr, settings.betas, fused=True)
            for network in (self.critic, self.generator)
        ]

    def run(self, tick: Callable[[int], object] = lambda iteration: None) -> Tensor:
        """[3, G, 3, H, W]: what the last three iterations made. `tick` is told of each iteration that is done."""
        kept = []
        for iteration in range(self.settings.iterations):
            made = self.iterate(iteration)
            if iteration >= self.settings.iterations - SAVED:
                kept.append(made)
            tick(iteration + 1)
        return torch.stack(kept)

    def iterate(self, iteration: int) -> Tensor:
        """One iteration; gives the pictures [G, 3, H, W] that its last step of the critic saw."""
        upside_down = self.draws.upside_down(iteration)[:, None, None, None]
        real = torch.where(upside_down, self.real.flip(2), self.real)
        for step in range(self.settings.critic_steps):
            made = self._step_critic(real, iteration, step)
        self._step_generator(iteration)
        return made

    def critic_loss(self, real: Tensor, made: Tensor, share: Tensor) -> Tensor:
        """[G]"""
        penalty = gradient_penalty(self.critic, real, made, share)
        return self.critic(made) - self.critic(real) + self.settings.penalty * penalty

    def _step_critic(self, real: Tensor, iteration: int, step: int) -> Tensor:
        with torch.no_grad():
            made = self.generator(self.draws.noise(iteration, step))
        loss = self.critic_loss(real, made, self.draws.share(iteration, step))
        self._step(0, self.critic, loss)
        return made

    def _step_generator(self, iteration: int) -> None:
        made = self.generator(self.draws.noise(iteration, self.settings.critic_steps))
        self._step(1, self.generator, -self.critic(made))

    def _step(self, number: int, network: torch.nn.Module, loss: Tensor) -> None:
        """Networks share no weight, so the gradient of the sum is each one's own."""
        loss.sum().backward(inputs=list(network.parameters()))
        self._optimizers[number].step()
        self._optimizers[number].zero_grad()
