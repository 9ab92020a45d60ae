"""Every loss against its formula in float64: values and gradients, for all types, reductions and shapes."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loss_cases import BY_NAME, CASES, DTYPES, ONE_EACH, assert_same, wide

from fastlt import ops
from fastlt.ops import reference

SHAPES = [(5, 7), (1, 1), (3, 33), (9, 80), (3, 1101), (3, 4199)]
SMALL = [(5, 7), (3, 33)]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.op)


def possible(case, shape):
    return case.name != "prototype" or shape[1] > 1  # the positive alone leaves no denominator


@each_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients_are_those_of_the_formula(backend, case, dtype):
    for shape in SMALL if backend.simulated else SHAPES:
        if possible(case, shape):
            inputs = case.inputs(*shape, dtype)
            assert_same(case.value_and_gradients(ops, inputs), case.exact(inputs))


@one_each
@pytest.mark.parametrize("reduction", ["row", "sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_reduction_has_its_shape_and_takes_any_upstream_gradient(backend, case, reduction, dtype):
    inputs = case.inputs(6, 20, dtype)
    upstream = torch.linspace(-2, 3, 6) if reduction == "row" else torch.tensor(-1.7)
    found = case.value_and_gradients(ops, inputs, upstream, reduction=reduction)
    assert found["loss"].shape == ((6,) if reduction == "row" else ())
    assert_same(found, case.exact(inputs, upstream, reduction=reduction))


@one_each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses_are_float32_and_gradients_have_the_type_of_their_input(backend, case, dtype):
    inputs = case.inputs(4, 6, dtype)
    found = case.value_and_gradients(ops, inputs)
    assert found["loss"].dtype == wide(dtype)
    for name, x in inputs.learnt.items():
        assert found[name].dtype == x.dtype
        assert found[name].shape == x.shape
        assert found[name].is_contiguous()


@pytest.mark.parametrize("types", [(torch.bfloat16, torch.float32), (torch.float32, torch.float16)], ids=str)
def test_features_and_prototypes_may_differ_in_type(backend, types):
    case = BY_NAME["prototype"]
    inputs = case.inputs(5, 8)
    inputs.learnt = {name: x.to(type_) for (name, x), type_ in zip(inputs.learnt.items(), types, strict=True)}
    found = case.value_and_gradients(ops, inputs)
    assert (found["features"].dtype, found["prototypes"].dtype) == types
    assert_same(found, case.exact(inputs))


@pytest.mark.parametrize("types", [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)], ids=str)
def test_the_teacher_may_have_another_type_and_is_not_rounded(backend, types):
    case = BY_NAME["dive"]
    inputs = case.inputs(5, 8)
    inputs.learnt["logits"] = inputs.learnt["logits"].to(types[0])
    inputs.given["teacher_logits"] = inputs.given["teacher_logits"].to(types[1])
    assert_same(case.value_and_gradients(ops, inputs), case.exact(inputs))


@each_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_logits_give_finite_losses_and_gradients(backend, case, dtype):
    inputs = case.inputs(6, 9, dtype)
    first = next(iter(inputs.learnt))
    for magnitude, reduction in ((80.0, "mean"), (80.0, "row"), (1000.0, "mean")):
        inputs.learnt[first] = magnitude * inputs.learnt[first].sign()
        found = case.value_and_gradients(ops, inputs, reduction=reduction)
        assert all(x.isfinite().all() for x in found.values())
        # An exponential magnifies the rounding of its argument.
        assert_same(found, case.exact(inputs, reduction=reduction), slack=magnitude / 20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    shape=st.tuples(st.integers(0, 9), st.integers(2, 70)),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([0.01, 1.0, 8.0]),
    seed=st.integers(0, 99),
)
def test_any_shape_type_and_scale(backend, case, shape, dtype, scale, seed):
    inputs = case.inputs(*shape, dtype, scale, seed)
    # Loose: among so many there are differences of nearly equal numbers, the references' more than the kernels'.
    assert_same(case.value_and_gradients(ops, inputs), case.exact(inputs), slack=10 * max(scale, 1.0))


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "partial"], ids=lambda case: case.name)
def test_gradients_are_the_derivatives_of_the_values(backend, case):
    inputs = case.inputs(3, 4, torch.float64, scale=1.0)
    names = tuple(inputs.learnt)

    def rows(*learnt):
        inputs.learnt = dict(zip(names, learnt, strict=True))
        return case.loss(ops, inputs, reduction="row")

    def mean(*learnt):
        return rows(*learnt).mean() + case.loss(ops, inputs)

    learnt = tuple(x.requires_grad_() for x in inputs.learnt.values())
    for function in (rows, mean):
        assert torch.autograd.gradcheck(function, learnt)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_errors_are_at_most_those_of_the_reference_and_two_ulp(compiled, case, dtype):
    """Largest and mean error over ten seeds, each against float64 on the same rounded inputs. An ulp is that of the
    largest value of a tensor: sums cancel, so smaller ones carry the errors of larger ones in any order of summing."""
    shape = (4, 40) if compiled.simulated else (16, 150)
    ours, theirs = {}, {}
    for seed in range(10):
        inputs = case.inputs(*shape, dtype, seed=seed)
        exact = case.exact(inputs)
        for module, errors in ((ops, ours), (reference, theirs)):
            for name, value in case.value_and_gradients(module, inputs).items():
                ulp = torch.finfo(value.dtype).eps * exact[name].abs().max()
                errors.setdefault(name, []).append((value.double() - exact[name]).abs() / ulp)
    for name in ours:
        found, allowed = torch.stack(ours[name]), torch.stack(theirs[name])
        assert found.max() <= allowed.max() + 2, name
        assert found.mean() <= allowed.mean() + 2, name


@each_case
def test_a_logit_that_is_no_number_is_seen_in_the_loss(backend, case):
    """A network that diverged must not look as if it had learnt everything."""
    inputs = case.inputs(4, 9)
    name = next(iter(inputs.learnt))
    inputs.learnt[name] = torch.full_like(inputs.learnt[name], torch.nan)
    assert case.loss(ops, inputs, reduction="row").isnan().any()


def test_entries_that_do_not_count_have_no_part_in_anything_whatever_their_logits_are(backend):
    logits = torch.tensor([[torch.nan, 0.5, torch.inf], [-torch.inf, torch.nan, 0.25]])
    counts = torch.tensor([[False, True, False], [False, False, True]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.int8)
    scale = torch.ones(3)

    def made(logits, targets, **settings):
        leaves = logits.clone().requires_grad_(), scale.clone().requires_grad_()
        loss = ops.sigmoid_loss(leaves[0], targets, negative_scale=leaves[1], reduction="sum", **settings)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    wanted = made(torch.where(counts, logits, 0.0), targets, weight=counts)
    unknown = torch.where(counts, targets, -1).to(torch.int8)
    for found in (made(logits, targets, weight=counts), made(logits, unknown)):
        for value, expected in zip(found, wanted, strict=True):
            assert torch.equal(value, expected)
