"""Networks side by side are those that torch's own layers make for each image alone."""

import pytest
import torch

from fastlt.wgan.layers import Double, Halve
from fastlt.wgan.networks import gradient_penalty
from fastlt.wgan.settings import Settings

EXACT = {"rtol": 1e-9, "atol": 1e-11}


def noise_of(settings, groups=3):
    return torch.randn(groups, settings.noise, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def share_of(groups=3):
    return torch.rand(groups, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def plain_penalty(critic, real, made, share):
    """(|gradient| - 1)^2 for one image, its gradient by finite differences of nothing but the critic's score."""
    between = share * real + (1 - share) * made
    direction = torch.zeros_like(between).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between + direction).sum(), direction, create_graph=True)
    return (gradient.pow(2).sum().sqrt() - 1) ** 2


def test_each_generator_and_critic_is_that_of_plain_layers(training, plain, real, settings):
    noise = noise_of(settings)
    made, scores = training.generator(noise), training.critic(real)
    assert made.shape == real.shape and made.abs().max() <= 1
    for group in range(3):
        alone = plain(group)
        torch.testing.assert_close(made[group], alone.generator(noise[group].view(1, -1, 1, 1))[0], **EXACT)
        torch.testing.assert_close(scores[group], alone.critic(real[group : group + 1]).squeeze(), **EXACT)


def test_the_penalty_and_its_gradient_are_those_of_each_image_alone(training, plain, real):
    made, share = real.flip(0).roll(7, 3), share_of()
    penalty = gradient_penalty(training.critic, real, made, share)
    gradients = torch.autograd.grad(penalty.sum(), list(training.critic.parameters()))
    for group in range(3):
        critic, one = plain(group).critic, slice(group, group + 1)
        truth = plain_penalty(critic, real[one], made[one], share[group])
        torch.testing.assert_close(penalty[group], truth, **EXACT)
        for ours, own in zip(gradients, torch.autograd.grad(truth, list(critic.parameters())), strict=True):
            torch.testing.assert_close(ours[group].view_as(own), own, **EXACT)


def test_the_gradient_in_the_penalty_is_that_of_finite_differences(training, real):
    """The truth of the truth: a step along the gradient changes the score by its length squared."""
    between = real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(training.critic(between).sum(), between)
    step = 1e-6 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        slope = (training.critic(real + step) - training.critic(real - step)) / 2e-6
    torch.testing.assert_close((slope - 1) ** 2, gradient_penalty(training.critic, real, real, share_of()).detach(),
                               rtol=1e-5, atol=1e-7)  # fmt: skip


def test_another_picture_in_one_group_changes_nothing_of_the_others(training, real, settings):
    made, share = training.generator(noise_of(settings)).detach(), share_of()
    before = training.critic_loss(real, made, share)
    other = real.clone()
    other[1] = -other[1]
    after = training.critic_loss(other, made, share)
    assert torch.equal(before[[0, 2]], after[[0, 2]]) and not torch.equal(before[1], after[1])


def test_no_gradient_of_one_image_reaches_the_weights_of_another(training, real, settings):
    made = training.generator(noise_of(settings))
    networks = [*training.generator.parameters(), *training.critic.parameters()]
    loss = training.critic_loss(real, made, share_of())[1]
    for gradient in torch.autograd.grad(loss, networks):
        assert not gradient[[0, 2]].any()
        assert gradient[1].any()


@pytest.mark.parametrize("layer", [Halve(2, 1, 2), Double(2, 1, 2)])
def test_layers_have_right_first_and_second_derivatives(layer):
    layer = layer.double()
    torch.nn.init.normal_(layer.weight)
    pictures = torch.randn(2, 1, 2, 4, dtype=torch.float64, requires_grad=True)

    def maps(pictures, weight):
        return torch.func.functional_call(layer, {"weight": weight}, pictures)

    assert torch.autograd.gradcheck(maps, (pictures, layer.weight))
    assert torch.autograd.gradgradcheck(maps, (pictures, layer.weight))


def test_the_published_networks_have_their_layers_and_weights():
    published = Settings()
    assert published.smallest == (4, 6) and published.widths == [3, 64, 128, 256, 512, 1024]
    generator = 100 * 1024 * 24 + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    critic = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024) + 1024 * 24
    assert published.weights == generator + critic + 2 * 2 * (64 + 128 + 256 + 512 + 1024)


def test_the_weights_are_counted_as_they_are(training, settings):
    networks = [*training.generator.parameters(), *training.critic.parameters()]
    assert sum(parameter[0].numel() for parameter in networks) == settings.weights
