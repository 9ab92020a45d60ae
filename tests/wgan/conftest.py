"""Small networks in float64, and the same of one image in torch's own layers."""

import pytest
import torch
from fastlt.bench.plain_wgan import PlainWgan

from fastlt.wgan.settings import Settings
from fastlt.wgan.training import Training


@pytest.fixture
def settings():
    return Settings(iterations=4, critic_steps=2, height=64, width=96, channels=2, noise=5)


@pytest.fixture
def real():
    """Pictures of three images."""
    return torch.rand(3, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def training(real, settings):
    return Training(real, [11, 12, 13], settings)


@pytest.fixture
def plain(training, real, settings):
    """A function from the number of an image to its networks alone, with the weights that they have in `training`."""

    def alone(group):
        wgan = PlainWgan(real[group : group + 1], settings)
        for ours, theirs in ((training.generator, wgan.generator), (training.critic, wgan.critic)):
            for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                other.data.copy_(own[group].view_as(other))
        return wgan

    return alone
