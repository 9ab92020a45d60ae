"""Batch norm, residual and ReLU in one operator: as PyTorch's three have it, in float64."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from fastlt.bench.memory import STATUS, peak_bytes
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastlt.ops.norm import batch_norm_relu

pytestmark = pytest.mark.usefixtures("instruction_set")
EPS = 1e-5
EPSILON = {torch.float64: 2**-52, torch.float32: 2**-23, torch.bfloat16: 2**-8, torch.float16: 2**-11}
ULPS = dict.fromkeys(EPSILON, 4) | {torch.float64: 64}  # the truth is float64 too
DTYPES = list(EPSILON)
SHAPES = [
    (2, 1, 1, 1),
    (3, 3, 5, 7),
    (1, 16, 4, 4),
    (7, 24, 9, 5),
    (5, 127, 3, 3),
    (2, 130, 17, 1),
    (4, 512, 7, 7),
    (9, 16, 70, 71),
]


def values(shape, dtype=torch.float32, seed=0, mean=0.0):
    """[B, C, H, W], channels-last."""
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return made.to(dtype).to(memory_format=torch.channels_last)


def channels(shape, dtype, seed):
    """[C] weights, of which some are 0 or negative, and biases; wide."""
    wide = torch.promote_types(dtype, torch.float32)
    made = torch.randn(2, shape[1], generator=torch.Generator().manual_seed(seed)).to(wide)
    made[0, ::5] = 0
    return made[0].clone(), made[1].clone()


def eager(x, residual, weight, bias, eps):
    """relu(batch_norm(x) + residual), and the moments, by PyTorch's operators."""
    wide = torch.promote_types(x.dtype, torch.float32)
    out = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    y = F.relu(out if residual is None else out + residual)
    variance, mean = torch.var_mean(x.detach().to(wide), (0, 2, 3), correction=0)
    return y, mean, variance


keeping_the_residual = functools.partial(batch_norm_relu, keep_residual=True)


def run(function, x, residual, weight, bias, upstream, eps=EPS, dtype=None):
    """Output, moments and all gradients in float64; computed in `dtype` if given."""
    given = [
        None if t is None else t.to(dtype or t.dtype, copy=True).requires_grad_() for t in (x, residual, weight, bias)
    ]
    y, *moments = function(*given, eps)
    y.backward(upstream.to(y.dtype))
    found = [y.detach(), *moments, *(t.grad for t in given if t is not None)]
    return [t.double() for t in found]


def case(shape, dtype, with_residual, mean=0.0):
    weight, bias = channels(shape, dtype, seed=3)
    residual = values(shape, dtype, seed=1) if with_residual else None
    return values(shape, dtype, mean=mean), residual, weight, bias, values(shape, dtype, seed=2)


def away_from_the_corner(tensors, dtype):
    """The same with an upstream gradient of 0 where rounding decides on which side of ReLU's corner an output lies."""
    x, residual, weight, bias, upstream = tensors
    wide = [None if t is None else t.double() for t in (x, residual, weight, bias)]
    before = F.batch_norm(wide[0], None, None, wide[2], wide[3], training=True, eps=EPS)
    before = before if residual is None else before + wide[1]
    near = before.abs() < 64 * EPSILON[dtype] * (1 + x.double().abs().max())
    return x, residual, weight, bias, upstream.masked_fill(near, 0)


@pytest.mark.parametrize("function", [batch_norm_relu, keeping_the_residual], ids=["keeps y", "keeps residual"])
@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_moments_and_gradients_are_those_of_float64(shape, dtype, with_residual, function):
    tensors = away_from_the_corner(case(shape, dtype, with_residual), dtype)
    truth = run(eager, *tensors, dtype=torch.float64)
    others = run(eager, *tensors)
    for one, other, true in zip(run(function, *tensors), others, truth, strict=True):
        scale = true.abs().max() + 1e-30
        error, allowed = (one - true).abs().max(), (other - true).abs().max()
        assert error <= allowed + ULPS[dtype] * EPSILON[dtype] * scale


@pytest.mark.parametrize("mean", [80.0, -80.0, 1000.0])
def test_a_mean_far_from_zero_costs_no_more_than_the_inputs_own_digits(mean):
    tensors = away_from_the_corner(case((5, 24, 30, 30), torch.float32, True, mean), torch.float32)
    truth = run(eager, *tensors, dtype=torch.float64)
    for one, true in zip(run(batch_norm_relu, *tensors), truth, strict=True):
        assert (one - true).abs().max() <= 4 * EPSILON[torch.float32] * abs(mean) * (1 + true.abs().max())


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 300), st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_any_shape(shape, with_residual, seed):
    assume(shape[0] * shape[2] * shape[3] > 1)  # PyTorch refuses a channel of one value
    tensors = [None if t is None else t.double() for t in case(shape, torch.float32, with_residual)]
    tensors[0] = values(shape, torch.float64, seed)
    for one, true in zip(run(batch_norm_relu, *tensors), run(eager, *tensors), strict=True):
        assert torch.allclose(one, true, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_channel_of_one_value_has_no_gradient_and_gives_its_bias(dtype):
    x = torch.full((4, 8, 3, 3), 80.0, dtype=dtype).to(memory_format=torch.channels_last)
    weight, bias = channels(x.shape, dtype, seed=0)
    y, mean, variance, of_x, *_ = run(batch_norm_relu, x, None, weight, bias, torch.ones_like(x))
    assert torch.equal(y, F.relu(bias).to(dtype).double().view(1, -1, 1, 1).expand_as(y))
    assert (mean == 80).all()
    assert not variance.any()
    assert not of_x.abs().gt(1e-2).any()


def test_nan_stays_visible():
    x = values((2, 8, 4, 4))
    x[0, 3, 1, 2] = torch.nan
    y, mean, *_ = run(batch_norm_relu, x, None, *channels(x.shape, x.dtype, 0), torch.ones_like(x))
    assert y[:, 3].isnan().all()
    assert mean.isnan().nonzero().tolist() == [[3]]
    assert not y[:, 4].isnan().any()


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
def test_the_same_bits_for_any_number_of_threads(with_residual):
    tensors = case((9, 48, 41, 40), torch.float32, with_residual)
    found = []
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        found.append(run(batch_norm_relu, *tensors))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
def test_other_layouts_are_copied(with_residual):
    tensors = case((3, 16, 5, 4), torch.float32, with_residual)
    plain = [t if t is None or t.ndim == 1 else t.contiguous() for t in tensors]
    for one, other in zip(run(batch_norm_relu, *tensors), run(batch_norm_relu, *plain), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
def test_what_is_kept_for_the_backward_pass_decides_no_bit_of_float32(with_residual):
    tensors = case((9, 48, 41, 40), torch.float32, with_residual)
    for one, other in zip(run(batch_norm_relu, *tensors), run(keeping_the_residual, *tensors), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(not STATUS.exists(), reason="reads the resident set of Linux")
@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
def test_a_gradient_in_another_layout_takes_no_memory_beside_the_results(with_residual):
    """16 MiB a tensor: its copy is where the first result will lie."""
    x, residual, weight, bias, upstream = case((4, 64, 128, 128), torch.float32, with_residual)
    y, *moments = torch.ops.fastlt.batch_norm_relu(x, residual, weight, bias, EPS)
    kept, nchw = y if with_residual else None, upstream.contiguous()
    backward = torch.ops.fastlt.batch_norm_relu_backward
    taken = peak_bytes(lambda: backward(nchw, x, None, kept, weight, bias, *moments, EPS))
    assert taken / 2**20 < (2 if with_residual else 1) * 16 + 8


@pytest.mark.parametrize("kept", ["nothing", "y", "residual"])
def test_the_backward_pass_writes_no_input(kept):
    x, residual, weight, bias, upstream = case((3, 16, 5, 4), torch.float32, kept != "nothing")
    y, *moments = torch.ops.fastlt.batch_norm_relu(x, residual, weight, bias, EPS)
    instead = (residual if kept == "residual" else None, y if kept == "y" else None)
    for gradient in (upstream.clone(), upstream.contiguous()):
        passed = [gradient, x, *instead, weight, bias, *moments]
        before = [t if t is None else t.clone() for t in passed]
        torch.ops.fastlt.batch_norm_relu_backward(*passed, EPS)
        assert all(one is None or torch.equal(one, other) for one, other in zip(passed, before, strict=True))


def test_a_residual_without_gradient_gets_none():
    x, residual, weight, bias, upstream = case((3, 16, 5, 4), torch.float32, True)
    for function in (batch_norm_relu, keeping_the_residual):
        y, *_ = function(x.requires_grad_(), residual, weight, bias, EPS)
        y.backward(upstream)
        assert residual.grad is None


def test_a_residual_that_is_the_input_gets_both_gradients():
    x, _, weight, bias, upstream = case((3, 16, 5, 4), torch.float64, False)
    found = []
    for function in (batch_norm_relu, keeping_the_residual, eager):
        leaf = x.clone().requires_grad_()
        function(leaf, leaf, weight, bias, EPS)[0].backward(upstream)
        found.append(leaf.grad)
    assert torch.allclose(found[0], found[2]) and torch.allclose(found[1], found[2])


def test_a_kept_residual_must_not_be_changed():
    x, residual, weight, bias, upstream = case((3, 16, 5, 4), torch.float32, True)
    y, *_ = keeping_the_residual(x.requires_grad_(), residual, weight, bias, EPS)
    residual.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(upstream)


def test_takes_an_expanded_gradient_and_writes_no_input():
    x, residual, weight, bias, _ = case((3, 16, 5, 4), torch.float32, True)
    before = [t.clone() for t in (x, residual, weight, bias)]
    leaves = [t.requires_grad_() for t in (x, residual, weight, bias)]
    y, *_ = batch_norm_relu(*leaves, EPS)
    kept = y.detach().clone()
    y.mean((2, 3)).sum().backward()
    assert all(map(torch.equal, before, leaves))
    assert torch.equal(kept, y)
    truth, *_ = eager(*leaves, EPS)
    wanted = torch.autograd.grad(truth.mean((2, 3)).sum(), leaves)
    assert all(torch.allclose(t.grad, want, atol=1e-5) for t, want in zip(leaves, wanted, strict=True))


def test_outputs_are_channels_last():
    x, residual, weight, bias, upstream = case((3, 16, 5, 4), torch.float32, True)
    x.requires_grad_()
    y, *_ = batch_norm_relu(x, residual, weight, bias, EPS)
    y.backward(upstream)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_moments_carry_no_gradient_and_a_second_derivative_is_refused():
    x, _, weight, bias, _ = case((3, 16, 5, 4), torch.float32, False)
    y, mean, variance = batch_norm_relu(x.requires_grad_(), None, weight, bias, EPS)
    assert not mean.requires_grad
    assert not variance.requires_grad
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
@pytest.mark.parametrize("function", [batch_norm_relu, keeping_the_residual], ids=["keeps y", "keeps residual"])
def test_compiles_whole(with_residual, function):
    tensors = case((3, 16, 5, 4), torch.float32, with_residual)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for one, other in zip(run(compiled, *tensors), run(batch_norm_relu, *tensors), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("with_residual", [False, True], ids=["alone", "residual"])
def test_the_operators_are_what_torch_is_told(with_residual):
    x, residual, weight, bias, upstream = case((3, 16, 5, 4), torch.float32, with_residual)
    y, mean, variance = batch_norm_relu(x, residual, weight, bias, EPS)
    torch.library.opcheck(torch.ops.fastlt.batch_norm_relu.default, (x, residual, weight, bias, EPS))
    for kept in [(residual, None), (None, y)] if with_residual else [(None, None)]:
        arguments = (upstream, x, *kept, weight, bias, mean, variance, EPS)
        torch.library.opcheck(torch.ops.fastlt.batch_norm_relu_backward.default, arguments)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"x": torch.zeros(0, 16, 5, 4)}, "not empty"),
        ({"x": torch.zeros(3, 16, 5)}, r"x must be \[B, C, H, W\]"),
        ({"residual": values((3, 16, 5, 5))}, "residual must be"),
        ({"residual": values((3, 16, 5, 4), torch.bfloat16)}, "residual must be"),
        ({"weight": torch.ones(15)}, "weight must be"),
        ({"bias": torch.ones(16, dtype=torch.float64)}, "bias must be"),
    ],
    ids=["empty", "three dimensions", "another shape", "another type", "too few weights", "a wrong type"],
)
def test_wrong_inputs_are_named(change, words):
    given = {"x": values((3, 16, 5, 4)), "residual": None, "weight": torch.ones(16), "bias": torch.ones(16)}
    given |= {name: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in change.items()}
    with pytest.raises(RuntimeError, match=words):
        torch.ops.fastlt.batch_norm_relu(*given.values(), EPS)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"grad": values((3, 16, 5, 5))}, "grad must be"),
        ({"grad": values((3, 16, 5, 4), torch.bfloat16)}, "grad must be"),
        ({"residual": values((3, 16, 4, 5))}, "residual must be"),
        ({"residual": values((3, 16, 5, 4)).contiguous()}, "residual must be channels-last"),
        ({"y": values((2, 16, 5, 4))}, "y must be"),
        ({"y": values((3, 16, 5, 4)), "residual": values((3, 16, 5, 4))}, "not both"),
    ],
    ids=["another shape", "another type", "a turned residual", "another layout", "fewer outputs", "both"],
)
def test_wrong_inputs_of_the_backward_pass_are_named(change, words):
    x, ones = values((3, 16, 5, 4)), torch.ones(16)
    passed = {"grad": x, "x": x, "residual": None, "y": None} | change
    with pytest.raises(RuntimeError, match=words):
        torch.ops.fastlt.batch_norm_relu_backward(*passed.values(), ones, ones, ones, ones, EPS)
