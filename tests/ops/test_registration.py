"""What PyTorch may do with the operators: compile, trace, transform, differentiate, autocast."""

import warnings

import pytest
import torch
from loss_cases import BY_NAME, ONE_EACH, Inputs, assert_same
from torch._subclasses.fake_tensor import FakeTensorMode

from fastlt import ops
from fastlt.ops import library

one_each = pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.op)
LOGITS = torch.linspace(-3, 3, 12).view(3, 4)
TARGETS = torch.tensor([[1, 0, -1, 0], [0, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.int8)


def calls_of(namespace, case, inputs, reduction, gradients):
    """The operator and what the public function calls it with."""
    recorded = []

    class Recorder(library.Kernels):
        def __init__(self):
            self.makes_gradients = True

        def __getattr__(self, name):
            return lambda *arguments: recorded.append(arguments)

    with library.served_by(Recorder()):
        case.loss(ops, inputs, reduction=reduction)
    operator = getattr(getattr(torch.ops, namespace), case.op).default
    return operator, (*recorded[0][:-1], gradients)


@one_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learns", [True, False])
def test_pytorchs_own_checks_of_an_operator(registered, case, dtype, learns):
    inputs = case.inputs(3, 5, dtype)
    inputs.learnt = {name: x.requires_grad_(learns) for name, x in inputs.learnt.items()}
    highest = (2 if case.op == "sigmoid_loss" else 1) if registered.kernels.makes_gradients else 0
    for reduction, gradients in (("mean", highest), ("sum", 0), ("row", 0)):
        operator, arguments = calls_of(registered.namespace, case, inputs, reduction, gradients)
        torch.library.opcheck(operator, arguments)


@one_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_pytorchs_own_checks_of_a_backward_operator(registered, case, dtype):
    inputs = case.inputs(3, 5, dtype)
    for reduction, upstream in (("mean", torch.tensor(0.7)), ("row", torch.rand(3))):
        operator, arguments = calls_of(registered.namespace, case, inputs, reduction, 0)
        backward = getattr(getattr(torch.ops, registered.namespace), f"{case.op}_backward").default
        flags = ((True,), (False,)) if case.op == "sigmoid_loss" else ((),)
        for flag in flags:
            torch.library.opcheck(backward, (upstream, *arguments[:-1], *flag))


@one_each
def test_every_result_has_memory_of_its_own(registered, case):
    inputs = case.inputs(3, 5)
    for reduction, gradients in (("mean", int(registered.kernels.makes_gradients)), ("mean", 0), ("row", 0)):
        operator, arguments = calls_of(registered.namespace, case, inputs, reduction, gradients)
        results = operator(*arguments)
        assert (
            len({x.untyped_storage()._cdata for x in (*results, inputs.learnt[next(iter(inputs.learnt))])})
            == len(results) + 1
        )


def all_losses(logits, vectors, prototypes, targets, labels, prior):
    """Every operator once, behind something that PyTorch differentiates itself."""
    x = torch.tanh(logits) * 3
    scale_p, shift_p, scale_n, shift_n = vectors
    compensation = {
        "positive_scale": scale_p,
        "positive_shift": shift_p,
        "negative_scale": scale_n,
        "negative_shift": shift_n,
    }
    return (
        ops.sigmoid_loss(x, targets, **compensation, gamma_negative=2.0, margin=0.05)
        + ops.sigmoid_loss(x, targets, reduction="row").square().mean()
        + ops.lsep(x, targets)
        + ops.balanced_softmax(x, labels, prior)
        + ops.dive(x, x.detach() + 1, labels, prior, temperature=3.0, power=0.5, reduction="sum")
        + ops.prototype_contrastive(x, prototypes, labels, temperature=0.5)
        + ops.supervised_contrastive(x, labels % 3, temperature=0.5)
    )


def sample(batch, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator, requires_grad=True)
    vectors = [torch.rand(classes, generator=generator, requires_grad=True) for _ in range(4)]
    prototypes = torch.randn(classes, classes, generator=generator, requires_grad=True)
    targets = torch.randint(-1, 2, (batch, classes), generator=generator, dtype=torch.int8)
    labels = torch.randint(0, classes, (batch,), generator=generator)
    return logits, vectors, prototypes, targets, labels, torch.rand(classes, generator=generator).log()


def compiles(backend_of_compiler):
    """One graph without a break serves every batch size, with the results of the eager call."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    function = torch.compile(all_losses, fullgraph=True, dynamic=True, backend=backend_of_compiler)
    warnings.filterwarnings("error", message="fastlt")
    for batch in (6, 9, 17):
        inputs = sample(batch, seed=batch)
        learnt = (inputs[0], *inputs[1], inputs[2])
        results = []
        for call in (function, all_losses):
            loss = call(*inputs)
            results.append({"loss": loss.detach(), **dict(enumerate(torch.autograd.grad(loss, learnt)))})
        assert_same(*results)
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


def test_one_graph_serves_every_batch_size(native):
    with library.served_by(native):
        compiles("aot_eager")


@pytest.mark.slow
def test_one_graph_of_the_references_serves_every_batch_size():
    with library.served_by(None):
        compiles("aot_eager")


@pytest.mark.slow
def test_the_compiler_of_pytorch_takes_every_operator(native):
    with library.served_by(native):
        compiles("inductor")


def test_compiling_may_be_the_first_use_of_the_library():
    """The library is loaded while PyTorch traces."""
    library._serving.clear()
    torch._dynamo.reset()
    function = torch.compile(lambda x: ops.lsep(x, TARGETS), fullgraph=True, backend="eager")
    assert torch.equal(function(LOGITS), ops.lsep(LOGITS, TARGETS))
    torch._dynamo.reset()


@one_each
@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_shapes_and_types_are_known_without_a_kernel(native, case, device):
    """For fake tensors of any device, and for meta tensors."""
    inputs = case.inputs(3, 5, torch.bfloat16)
    fake = FakeTensorMode()
    with fake:
        moved = inputs.change(lambda x: torch.empty(x.shape, dtype=x.dtype, device=device))
    for reduction, shape in (("mean", ()), ("row", (3,))):
        operator, arguments = calls_of("fastlt", case, inputs, reduction, 1 if reduction == "mean" else 0)
        known = [*inputs.learnt.values(), *inputs.given.values()]
        swapped = [*moved.learnt.values(), *moved.given.values()]
        arguments = [next((b for a, b in zip(known, swapped, strict=True) if a is x), x) for x in arguments]
        with fake:
            loss, gradient, *_ = operator(*arguments)
        assert (loss.shape, loss.dtype, loss.device.type) == (shape, torch.float32, device)
        if reduction == "mean":
            assert (gradient.shape, gradient.dtype) == (next(iter(moved.learnt.values())).shape, torch.bfloat16)


@one_each
def test_vmap_calls_the_operator_for_each(registered, case):
    many = [case.inputs(4, 6, seed=seed) for seed in range(3)]
    first = next(iter(many[0].learnt))

    def loss(x):
        return case.loss(ops, Inputs({**many[0].learnt, first: x}, many[0].given, many[0].settings))

    stacked = torch.stack([inputs.learnt[first] for inputs in many])
    assert torch.equal(torch.vmap(loss)(stacked), torch.stack([loss(x) for x in stacked]))


@one_each
def test_other_transforms_are_refused_by_name(registered, case):
    """torch takes the forward derivative of an operator that has none for 0."""
    inputs = case.inputs(4, 6)
    first = next(iter(inputs.learnt))

    def loss(x):
        return case.loss(ops, Inputs({**inputs.learnt, first: x}, inputs.given, inputs.settings))

    x = inputs.learnt[first]
    for transform in (lambda: torch.func.grad(loss)(x), lambda: torch.func.jvp(loss, (x,), (torch.ones_like(x),))):
        with pytest.raises(RuntimeError, match=f"{case.op}: .*only vmap"):
            transform()


@one_each
def test_a_batch_of_upstream_gradients(registered, case):
    inputs = case.inputs(4, 6)
    first = next(iter(inputs.learnt))
    x = inputs.learnt[first].requires_grad_()
    loss = case.loss(ops, inputs)
    upstream = torch.tensor([1.0, -2.0])
    (both,) = torch.autograd.grad(loss, x, upstream, is_grads_batched=True, retain_graph=True)
    (one,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(both, torch.stack([one, -2 * one]))


@one_each
@pytest.mark.parametrize("reduction", ["mean", "row"])
def test_differentiating_a_gradient_is_refused(registered, case, reduction):
    inputs = case.inputs(4, 6)
    first = next(iter(inputs.learnt))
    x = inputs.learnt[first].requires_grad_()
    loss = case.loss(ops, inputs, reduction=reduction).sum()
    with pytest.raises(RuntimeError, match=f"{case.op}: its gradient cannot be differentiated again"):
        torch.autograd.grad(loss, x, create_graph=True)


@one_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_no_bit(backend, case, dtype):
    """Neither are inputs cast nor the matrix products inside rounded, those of a backward pass within included; the
    references' backward pass is PyTorch's, which wants to be outside."""
    inputs = case.inputs(6, 40, dtype)
    learnt = {name: x.requires_grad_() for name, x in inputs.learnt.items()}
    for reduction in ("mean", "row"):
        outside = case.value_and_gradients(ops, inputs, reduction=reduction)
        with torch.autocast("cpu", torch.bfloat16):
            loss = case.loss(ops, inputs, reduction=reduction)
            assert torch.equal(loss, outside["loss"])
            assert loss.dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16, enabled=backend.kernels is not None):
            gradients = torch.autograd.grad(loss, tuple(learnt.values()), torch.ones_like(loss))
        for name, gradient in zip(learnt, gradients, strict=True):
            assert torch.equal(gradient, outside[name])


@one_each
def test_autocast_changes_no_bit_of_the_operator_itself(registered, case):
    operator, arguments = calls_of(registered.namespace, case, case.inputs(6, 40), "mean", 0)
    outside = operator(*arguments)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(operator(*arguments)[0], outside)


@one_each
def test_a_graph_that_is_kept_gives_the_same_gradients_again(backend, case):
    inputs = case.inputs(4, 6)
    inputs.learnt = {name: x.requires_grad_() for name, x in inputs.learnt.items()}
    loss = case.loss(ops, inputs)
    loss.backward(retain_graph=True)
    once = {name: x.grad.clone() for name, x in inputs.learnt.items()}
    for _ in range(2):
        loss.backward(retain_graph=True)
    for name, x in inputs.learnt.items():
        torch.testing.assert_close(x.grad, 3 * once[name])
    (2 * loss).backward()
    for name, x in inputs.learnt.items():
        torch.testing.assert_close(x.grad, 5 * once[name])


def test_changing_a_returned_gradient_does_not_change_the_next_one_in_silence(backend):
    x = LOGITS.clone().requires_grad_()
    loss = ops.lsep(x, TARGETS)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    wanted = first.clone()
    first.zero_()
    try:
        (again,) = torch.autograd.grad(loss, x)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
    else:
        assert torch.equal(again, wanted)


def test_a_gradient_for_an_upstream_of_one_is_not_copied(native):
    with library.served_by(native):
        x = LOGITS.clone().requires_grad_()
        loss = ops.lsep(x, TARGETS)
        (made,) = loss.grad_fn.saved_tensors
        place = made.data_ptr()
        del made
        loss.backward()
    assert x.grad.data_ptr() == place


def test_scaling_of_a_bfloat16_gradient_rounds_once(backend):
    """The loss scale 1 + 2^-10 has no bfloat16 of its own."""
    case = BY_NAME["asymmetric"]
    inputs = case.inputs(8, 50, torch.bfloat16)
    scale = torch.tensor(3 + 2**-10)
    found = case.value_and_gradients(ops, inputs, scale, reduction="sum")["logits"]
    exact = case.exact(inputs, scale, reduction="sum")["logits"]
    torch.testing.assert_close(found.double(), exact, rtol=2**-8 if backend.kernels is None else 2**-7, atol=0)


def test_float16_gradients_are_made_after_the_loss_scale(backend):
    """Made before it, those of a mean over many entries would be zero."""
    x = torch.full((64, 500), -4.0, dtype=torch.float16, requires_grad=True)
    targets = torch.zeros(64, 500, dtype=torch.int8)
    (65536 * ops.sigmoid_loss(x, targets)).backward()
    wanted = 65536 / x.numel() * torch.sigmoid(torch.tensor(-4.0))
    torch.testing.assert_close(x.grad.float(), wanted.expand(64, 500), rtol=1e-3, atol=0)


def test_only_what_learns_gets_a_gradient(backend):
    prototypes = torch.eye(4, requires_grad=True)
    loss = ops.prototype_contrastive(LOGITS, prototypes, torch.tensor([0, 1, 2]), temperature=0.5)
    loss.backward()
    assert prototypes.grad is not None
    assert LOGITS.grad is None


def test_without_gradients_nothing_is_kept(backend):
    x = LOGITS.clone().requires_grad_()
    with torch.no_grad():
        assert not ops.lsep(x, TARGETS).requires_grad
    assert not ops.lsep(x.detach(), TARGETS).requires_grad
    with torch.inference_mode():
        assert not ops.sigmoid_loss(x, TARGETS).requires_grad
