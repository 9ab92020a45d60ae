"""Trains the networks of G images at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fastlt.hashing import key, normal, uniform
from fastlt.wgan.critic import Critic
from fastlt.wgan.generator import Generator
from fastlt.wgan.settings import SAVED, Settings

NOISE, SHARE, FLIP = 0, 2, 3  # lanes of the draws; noise takes two
SPREAD = 0.02  # standard deviation of initial weights


@dataclass
class Draws:
    """All that is random while training, a function of the images' keys [G] and of the place in training alone."""

    settings: Settings
    keys: np.ndarray  # uint64 [G]
    device: torch.device
    dtype: torch.dtype

    def noise(self, iteration: int) -> Tensor:
        """[G, critic_steps + 1, noise]: of every step of the critic, and of the generator's."""
        steps, numbers = self.settings.critic_steps + 1, self.settings.noise
        places = iteration * steps * numbers + np.arange(steps * numbers)
        return self._tensor(normal(self.keys[:, None], places, NOISE)).unflatten(1, (steps, numbers))

    def share(self, iteration: int) -> Tensor:
        """[G, critic_steps], in [0, 1)"""
        places = iteration * (self.settings.critic_steps + 1) + np.arange(self.settings.critic_steps)
        return self._tensor(uniform(self.keys[:, None], places, SHARE))

    def upside_down(self, iteration: int) -> Tensor:
        """bool [G]"""
        chosen = uniform(self.keys, iteration, FLIP) < self.settings.vertical_flip
        return torch.from_numpy(chosen).to(self.device)

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
        self._optimizers = {
            network: torch.optim.Adam(network.parameters(), settings.lr, settings.betas, fused=True)
            for network in (self.critic, self.generator)
        }

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
        noise, share = self.draws.noise(iteration), self.draws.share(iteration)
        upside_down = self.draws.upside_down(iteration)[:, None, None, None]
        real = torch.where(upside_down, self.real.flip(2), self.real)
        made = self.generator(noise[:, :-1])  # for all steps: the generator is the same until they are done
        for step in range(self.settings.critic_steps):
            _, gradients = self.critic.learn(real, made[:, :, step], share[:, step], self.settings.penalty)
            self._step(self.critic, gradients)
        self._step_generator(noise[:, -1:])
        return made[:, :, -1]

    def _step_generator(self, noise: Tensor) -> None:
        kept, made = self.generator.trace(noise)
        gradient = -self.critic.picture_gradient(made)
        self._step(self.generator, self.generator.gradients(noise, kept, made, gradient))

    def _step(self, network: nn.Module, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self._optimizers[network].step()
        self._optimizers[network].zero_grad()


@torch.no_grad()
def initialise(networks: list[nn.Module], seeds: list[int], device: torch.device) -> None:
    """Weights from N(0, 0.02), scales of batch norm from N(1, 0.02), as DCGAN has it; network g by seeds[g] alone."""
    for group, seed in enumerate(seeds):
        draws = torch.Generator(device).manual_seed(seed)
        for network in networks:
            for name, parameter in network.named_parameters():
                if name.endswith("shift"):
                    parameter[group].zero_()
                else:
                    parameter[group].normal_(float(name.endswith("scale")), SPREAD, generator=draws)
