"""The parts of networks side by side: torch's own convolutions, and derivatives that autograd finds."""

import pytest
import torch
import torch.nn.functional as F

from fastlt.wgan.layers import columns, double, halve, overlap, weight_gradient
from fastlt.wgan.norm import EPSILON, Normed

GROUPS, DEEP, SHALLOW, PICTURES, HEIGHT, WIDTH = 2, 3, 2, 3, 4, 6
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def weight():
    return numbers(GROUPS, DEEP, SHALLOW, 4, 4).requires_grad_()


@pytest.fixture
def shallow():
    return numbers(GROUPS, SHALLOW, PICTURES, HEIGHT, WIDTH, seed=1)


@pytest.fixture
def deep():
    return numbers(GROUPS, DEEP, PICTURES, HEIGHT // 2, WIDTH // 2, seed=2)


def each(convolution, maps, weight):
    """Of every network alone, its pictures as a batch."""
    own = zip(maps.transpose(1, 2), weight, strict=True)
    return torch.stack([convolution(pictures, kernel, stride=2, padding=1) for pictures, kernel in own]).transpose(1, 2)


def test_halving_is_a_convolution_of_every_picture(weight, shallow):
    found = halve(weight, columns(shallow), (HEIGHT // 2, WIDTH // 2))
    torch.testing.assert_close(found, each(F.conv2d, shallow, weight), **EXACT)


def test_doubling_is_a_transposed_convolution_of_every_picture(weight, deep):
    torch.testing.assert_close(double(weight.detach(), deep), each(F.conv_transpose2d, deep, weight), **EXACT)


def test_the_gradient_of_weights_is_that_of_both_convolutions(weight, shallow, deep):
    found = weight_gradient(deep, columns(shallow))
    for product in (each(F.conv2d, shallow, weight) * deep, each(F.conv_transpose2d, deep, weight) * shallow):
        (truth,) = torch.autograd.grad(product.sum(), weight)
        torch.testing.assert_close(found, truth, **EXACT)


def test_columns_may_be_written_beside_others(shallow):
    room = numbers(GROUPS, 16 * SHALLOW, PICTURES + 1, HEIGHT * WIDTH // 4)
    before = room.clone()
    columns(shallow, room[:, :, 1:])
    assert torch.equal(room[:, :, 1:], columns(shallow)) and torch.equal(room[:, :, 0], before[:, :, 0])


def test_overlapping_is_the_transpose_of_taking_columns(shallow):
    seen = columns(shallow)
    other = numbers(*seen.shape, seed=4)
    torch.testing.assert_close((seen * other).sum(), (shallow * overlap(other.clone(), (HEIGHT, WIDTH))).sum(), **EXACT)


@pytest.fixture(params=[1.0, 3e-3], ids=["varied", "nearly flat, where epsilon counts"])
def normed(request):
    inputs = (request.param * numbers(GROUPS, DEEP, PICTURES, HEIGHT, WIDTH, seed=5)).requires_grad_()
    scale, shift = (numbers(GROUPS, DEEP, seed=seed).requires_grad_() for seed in (6, 7))
    return inputs, scale, shift


def plain_norm(inputs, scale, shift):
    scale, shift = (values[..., None, None, None] for values in (scale, shift))
    centred = inputs - inputs.mean((3, 4), keepdim=True)
    deviation = (centred.square().mean((3, 4), keepdim=True) + EPSILON).sqrt()
    return F.leaky_relu(scale * centred / deviation + shift, 0.2)


def per_picture(sums):
    return sums.sum(2)


def test_every_map_is_normed_by_itself(normed):
    torch.testing.assert_close(Normed.of(*normed, 0.2).maps, plain_norm(*normed), **EXACT)


def test_the_norm_takes_gradients_back(normed):
    gradient = numbers(*normed[0].shape, seed=8)
    found = Normed.of(*normed, 0.2).backward(gradient)
    truth = torch.autograd.grad((plain_norm(*normed) * gradient).sum(), normed)
    for ours, own in zip((found.after, found.times_normal.sum(2), found.total.sum(2)), truth, strict=True):
        torch.testing.assert_close(ours, own, **EXACT)


def test_the_norm_takes_changes_forward(normed):
    inputs, scale, shift = (tensor.detach() for tensor in normed)
    change, ours = numbers(*inputs.shape, seed=9), Normed.of(inputs, scale, shift, 0.2)
    _, truth = torch.func.jvp(lambda inputs: plain_norm(inputs, scale, shift), (inputs,), (change,))
    torch.testing.assert_close(ours.rectify(ours.forward(change).after), truth, **EXACT)


@pytest.mark.parametrize("used", [False, True], ids=["alone", "with what follows from the maps"])
def test_the_change_of_the_norm_has_right_derivatives(normed, used):
    """Of the change of its maps along a change of its inputs, and of the maps themselves."""
    inputs, scale, shift = normed
    gradient, change, above = (numbers(*inputs.shape, seed=seed) for seed in (10, 11, 12))
    maps, moved = torch.func.jvp(lambda inputs: plain_norm(inputs, scale, shift), (inputs,), (change,))
    truth = torch.autograd.grad((gradient * moved).sum() + used * (above * maps).sum(), normed)
    ours = Normed.of(*(tensor.detach() for tensor in normed), 0.2)
    found, *sums = ours.second(ours.backward(gradient), ours.forward(change), above if used else None)
    for mine, own in zip((found, *map(per_picture, sums)), truth, strict=True):
        torch.testing.assert_close(mine, own, **EXACT)
