"""An image's networks train as if they were alone, whoever they are trained beside."""

import numpy as np
import torch

from fastlt.wgan.settings import Settings
from fastlt.wgan.training import Training

CLOSE = {"rtol": 1e-7, "atol": 1e-9}  # rounding in float64 grows over the steps


def weights(training, group):
    return [p[group].detach() for network in (training.generator, training.critic) for p in network.parameters()]


def test_an_image_beside_others_becomes_what_it_becomes_alone(training, real, settings):
    together = training.run()
    for group, seed in enumerate([11, 12, 13]):
        alone = Training(real[group : group + 1], [seed], settings)
        torch.testing.assert_close(together[:, group], alone.run()[:, 0], **CLOSE)
        for ours, own in zip(weights(training, group), weights(alone, 0), strict=True):
            torch.testing.assert_close(ours, own, **CLOSE)


def test_in_groups_of_one_size_the_bits_do_not_depend_on_the_others(real, settings):
    pictures = real.float()
    first = Training(pictures[[0, 1]], [11, 12], settings).run()
    second = Training(pictures[[2, 0]], [13, 11], settings).run()
    assert torch.equal(first[:, 0], second[:, 1])


def test_it_trains_as_the_plain_loop_does(training, plain, settings):
    """Five lines of PyTorch for one image, with the same draws, are the truth for every step and Adam's moments."""
    alone = plain(1)
    for iteration in range(3):
        flipped = training.draws.upside_down(iteration)[1]
        kept, alone.real = alone.real, alone.real.flip(2) if flipped else alone.real
        noise, share = training.draws.noise(iteration)[1, :, None, :, None, None], training.draws.share(iteration)[1]
        for step in range(settings.critic_steps):
            alone.step_critic(noise[step], share[step])
        alone.step_generator(noise[-1])
        training.iterate(iteration)
        alone.real = kept
    theirs = [*alone.generator.parameters(), *alone.critic.parameters()]
    for ours, own in zip(weights(training, 1), theirs, strict=True):
        torch.testing.assert_close(ours, own.detach().view_as(ours), **CLOSE)


def test_the_pictures_are_those_of_the_last_three_iterations(real, settings):
    told, whole = [], Training(real, [1, 2, 3], settings)
    found = whole.run(told.append)
    again = Training(real, [1, 2, 3], settings)
    made = [again.iterate(iteration) for iteration in range(4)]
    assert torch.equal(found, torch.stack(made[1:])) and told == [1, 2, 3, 4]
    assert not torch.equal(found[0], found[1])


def test_draws_depend_on_the_image_and_the_place_alone(training, real, settings):
    draws, other = training.draws, Training(real[[2, 1]], [13, 99], settings).draws
    assert torch.equal(draws.noise(5)[2], other.noise(5)[0])
    assert torch.equal(draws.share(5)[2], other.share(5)[0])
    assert not torch.equal(draws.noise(5)[1], other.noise(5)[1])
    places = torch.cat([draws.noise(5), draws.noise(6)], 1).flatten(0, 1)
    assert places.shape == (3 * 2 * (settings.critic_steps + 1), settings.noise) and len(places.unique(dim=0)) == 18


def test_draws_have_their_distributions(real):
    draws = Training(real, [1, 2, 3], Settings(channels=1, height=64, width=96)).draws
    noise = torch.cat([draws.noise(i) for i in range(30)], 1).flatten(0, 1)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    corner = np.corrcoef(noise.numpy().T)  # the numbers of one picture do not hang together
    assert np.abs(corner - np.eye(100)).max() < 0.25
    share = torch.cat([draws.share(i) for i in range(200)], 1)
    assert share.min() >= 0 and share.max() < 1 and abs(share.mean() - 0.5) < 0.03
    flips = torch.stack([draws.upside_down(i) for i in range(1000)]).double()
    assert abs(flips.mean() - 0.1) < 0.02 and len(flips.unique(dim=1).T) == 3


def test_initial_weights_have_their_distributions(real):
    training = Training(real, [1, 2, 3], Settings(channels=16, height=64, width=64))
    for network in (training.generator, training.critic):
        for name, values in network.named_parameters():
            mean, spread = {"weight": (0, 0.02), "scale": (1, 0.02), "shift": (0, 0)}[name.split(".")[-1]]
            assert abs(values.mean() - mean) < 0.005 and abs(values.std() - spread) < 0.005
            assert spread == 0 or not torch.equal(values[0], values[1])
