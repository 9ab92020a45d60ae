"""Networks side by side are those that torch's own layers make for each image alone, and so are their gradients.

The truth is autograd on plain layers in float64; our gradients are written by hand.
"""

import pytest
import torch

from fastlt.wgan.settings import Settings

EXACT = {"rtol": 1e-9, "atol": 1e-11}
PENALTY = 10.0


@pytest.fixture
def training(training):
    """Anywhere in training: scales and shifts, too, are not what they were at first."""
    draws = torch.Generator().manual_seed(3)
    for network in (training.generator, training.critic):
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=draws)
    return training


def noise_of(settings, pictures=1):
    draws = torch.Generator().manual_seed(1)
    return torch.randn(3, pictures, settings.noise, dtype=torch.float64, generator=draws)


def share_of():
    return torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def plain_penalty(critic, real, made, share):
    """(|gradient| - 1)^2 for one image, as one writes it down."""
    between = (share * real + (1 - share) * made).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.pow(2).sum().sqrt() - 1) ** 2


def plain_loss(critic, real, made, share):
    penalty = plain_penalty(critic, real, made, share)
    return (critic(made) - critic(real)).sum() + PENALTY * penalty


def test_each_generator_and_critic_is_that_of_plain_layers(training, plain, real, settings):
    noise = noise_of(settings, pictures=2)
    made = training.generator(noise)
    scores = training.critic(torch.stack([real, real.flip(0)], 2))
    assert made.shape == (3, 3, 2, 64, 96) and made.abs().max() <= 1
    for group in range(3):
        alone = plain(group)
        pictures = [alone.generator(one.view(1, -1, 1, 1))[0] for one in noise[group]]
        torch.testing.assert_close(made[group], torch.stack(pictures, 1), **EXACT)
        truth = [alone.critic(real[[g]]).item() for g in (group, 2 - group)]
        torch.testing.assert_close(scores[group], real.new_tensor(truth), **EXACT)


def test_the_loss_and_its_gradients_are_those_of_each_image_alone(training, plain, real):
    made, share = real.flip(0).roll(7, 3), share_of()
    loss, gradients = training.critic.learn(real, made, share, PENALTY)
    for group in range(3):
        critic, one = plain(group).critic, slice(group, group + 1)
        truth = plain_loss(critic, real[one], made[one], share[group])
        torch.testing.assert_close(loss[group], truth, **EXACT)
        for ours, own in zip(gradients, torch.autograd.grad(truth, list(critic.parameters())), strict=True):
            torch.testing.assert_close(ours[group].view_as(own), own, **EXACT)


def test_single_precision_loses_no_more_than_its_digits(training, plain, real):
    made, share = real.flip(0).roll(7, 3), share_of()
    critic = plain(1).critic
    truth = torch.autograd.grad(plain_loss(critic, real[1:2], made[1:2], share[1]), list(critic.parameters()))
    training.critic.float()
    _, gradients = training.critic.learn(real.float(), made.float(), share.float(), PENALTY)
    for ours, own in zip(gradients, truth, strict=True):
        off = (ours[1].view_as(own) - own).norm() / own.norm()
        assert off < 1e-4


def test_the_generator_learns_what_raises_the_score(training, plain, real, settings):
    noise = noise_of(settings)
    kept, made = training.generator.trace(noise)
    toward = training.critic.picture_gradient(made)
    gradients = training.generator.gradients(noise, kept, made, toward)
    for group in range(3):
        alone = plain(group)
        score = alone.critic(alone.generator(noise[group].view(1, -1, 1, 1)))
        truth = torch.autograd.grad(score.sum(), list(alone.generator.parameters()))
        for ours, own in zip(gradients, truth, strict=True):
            torch.testing.assert_close(ours[group].view_as(own), own, **EXACT)


def test_the_gradient_in_the_penalty_is_that_of_finite_differences(training, real):
    """The truth of the truth: a step along the gradient changes the score by its length."""
    pictures = real[:, :, None]
    gradient = training.critic.picture_gradient(pictures)
    step = 1e-6 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None, None]
    slope = (training.critic(pictures + step) - training.critic(pictures - step))[:, 0] / 2e-6
    loss, _ = training.critic.learn(real, real, share_of(), PENALTY)  # of one picture for another, so no more than this
    torch.testing.assert_close(PENALTY * (slope - 1) ** 2, loss, rtol=1e-5, atol=1e-7)


def test_a_critic_that_is_blind_does_not_break_training(training, real):
    """Where the gradient is 0 its length has no derivative; 0 is taken for it."""
    torch.nn.init.zeros_(training.critic.last.weight)
    loss, gradients = training.critic.learn(real, real.flip(0), share_of(), PENALTY)
    assert torch.equal(loss, torch.full_like(loss, PENALTY))
    assert all(gradient.isfinite().all() for gradient in gradients) and gradients[-1].any()


def test_another_picture_of_one_image_changes_nothing_of_the_others(training, real, settings):
    """Neither the loss nor any gradient, to the bit."""
    made, other = training.generator(noise_of(settings))[:, :, 0], real.clone()
    other[1] = -other[1]
    before, after = (training.critic.learn(pictures, made, share_of(), PENALTY) for pictures in (real, other))
    for own, changed in zip([before[0], *before[1]], [after[0], *after[1]], strict=True):
        assert torch.equal(own[[0, 2]], changed[[0, 2]]) and not torch.equal(own[1], changed[1])


def test_pictures_of_one_network_do_not_touch(training, real):
    """They lie side by side in memory; a change of one is none of the other's, at its borders neither."""
    pictures = torch.stack([real, real.flip(3)], 2)
    changed = pictures.clone()
    changed[:, :, 1] *= -1
    own, other = (training.critic.picture_gradient(both) for both in (pictures, changed))
    assert torch.equal(own[:, :, 0], other[:, :, 0]) and not torch.equal(own[:, :, 1], other[:, :, 1])


def test_the_published_networks_have_their_layers_and_weights():
    published = Settings()
    assert published.smallest == (4, 6) and published.widths == [3, 64, 128, 256, 512, 1024]
    generator = 100 * 1024 * 24 + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    critic = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024) + 1024 * 24
    assert published.weights == generator + critic + 2 * 2 * (64 + 128 + 256 + 512 + 1024)


def test_the_weights_are_counted_as_they_are(training, settings):
    networks = [*training.generator.parameters(), *training.critic.parameters()]
    assert sum(parameter[0].numel() for parameter in networks) == settings.weights
