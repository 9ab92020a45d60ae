"""ML-WGAN-GP for one image as one writes it down in PyTorch: torch's own layers, and autograd for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlt.wgan.critic import SLOPE
from fastlt.wgan.settings import Settings


def plain_generator(settings: Settings) -> nn.Sequential:
    """Noise [1, noise, 1, 1] -> picture [1, 3, H, W]."""
    picture, *widths = settings.widths
    layers: list[nn.Module] = [nn.ConvTranspose2d(settings.noise, widths[-1], settings.smallest, bias=False)]
    for wide, narrow in zip(reversed(widths), [*reversed(widths[:-1]), picture], strict=True):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
    return nn.Sequential(*layers, nn.Tanh())


def plain_critic(settings: Settings) -> nn.Sequential:
    """Picture [1, 3, H, W] -> score [1, 1, 1, 1]."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(settings.widths, settings.widths[1:], strict=False):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(settings.widths[-1], 1, settings.smallest, bias=False))


class PlainWgan:
    """The networks of the picture `real` [1, 3, H, W] in [-1, 1]."""

    def __init__(self, real: Tensor, settings: Settings):
        self.real, self.settings = real, settings
        with real.device:
            self.generator, self.critic = plain_generator(settings), plain_critic(settings)
        self._adam = {
            network: torch.optim.Adam(network.to(real.dtype).parameters(), settings.lr, settings.betas)
            for network in (self.generator, self.critic)
        }

    def iterate(self) -> None:
        for _ in range(self.settings.critic_steps):
            self.step_critic(self._noise(), torch.rand(1).to(self.real))
        self.step_generator(self._noise())

    def step_critic(self, noise: Tensor, share: Tensor) -> None:
        with torch.no_grad():
            made = self.generator(noise)
        between = (share * self.real + (1 - share) * made).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between), between, create_graph=True)
        penalty = (gradient.norm() - 1) ** 2
        loss = self.critic(made) - self.critic(self.real) + self.settings.penalty * penalty
        self._step(self.critic, loss)

    def step_generator(self, noise: Tensor) -> None:
        self._step(self.generator, -self.critic(self.generator(noise)))

    def _noise(self) -> Tensor:
        return torch.randn(1, self.settings.noise, 1, 1, device=self.real.device, dtype=self.real.dtype)

    def _step(self, network: nn.Module, loss: Tensor) -> None:
        self._adam[network].zero_grad()
        loss.sum().backward()
        self._adam[network].step()
