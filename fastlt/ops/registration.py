"""What PyTorch must know about the library's operators besides their kernels: shapes, gradients, autocast.

Every loss is two operators. `name(*tensors, *settings, gradients)` returns the loss and, where `gradients` asks for
them, its gradients for an upstream gradient of 1, made in the same pass. `name_backward(upstream, *tensors, *settings)`
makes them anew. So a backward pass either multiplies what the forward pass made, or calls the second operator.

Called eagerly, a `Loss` goes straight to the kernel from one autograd.Function: what torch.library puts around an
operator takes several times as long as the kernels of a small batch. Compiled, or under functorch's transforms, the
operator itself is called, which torch.library knows. Both have the same rule, `Loss.gradients`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import _C, Tensor
from torch.autograd import Function

from fastlt.ops import fakes

NAMES = ("sigmoid_loss", "lsep", "balanced_softmax", "dive", "prototype_contrastive", "supervised_contrastive")
_kept: list[torch.library.Library] = []  # a registration lasts as long as its object


def _keys(*names: str) -> _C.DispatchKeySet:
    keys = _C.DispatchKeySet(getattr(_C.DispatchKey, names[0]))
    for name in names[1:]:
        keys = keys | _C.DispatchKeySet(getattr(_C.DispatchKey, name))
    return keys


# The kernels compute in float32 or float64 whatever comes in: autocast has nothing to cast, and left on it would round
# the matrix products inside them.
_AUTOCAST = ("AutocastCPU", "AutocastCUDA")
_WITHOUT_AUTOCAST = _keys(*_AUTOCAST)
_ONLY_KERNELS = _keys(*_AUTOCAST, "AutogradCPU", "AutogradCUDA", "ADInplaceOrView")


class Loss:
    """One loss of one library: called like its operator, returns the loss alone, and is differentiable."""

    def __init__(self, namespace: str, name: str, library: torch.library.Library) -> None:
        operators = getattr(torch.ops, namespace)
        self.name = name
        self.forward = getattr(operators, name).default
        self.backward = getattr(operators, f"{name}_backward").default
        self.tensors = sum("Tensor" in str(argument.type) for argument in self.forward._schema.arguments)
        self.function = _function(self)
        _register_fakes(self, library)
        _register_autograd(self, library)
        for operator in (self.forward, self.backward):
            _register_autocast(operator, library)

    def __call__(self, *arguments: Any) -> Tensor:
        if torch.compiler.is_compiling():
            return self.forward(*arguments)[0]
        transform = _C._functorch.peek_interpreter_stack()
        if transform is None:
            return self.function.apply(*arguments)
        if transform.key() != _C._functorch.TransformType.Vmap:  # torch would take a forward derivative for 0
            raise RuntimeError(f"{self.name}: of torch.func's transforms only vmap is supported; use backward()")
        return self.forward(*arguments)[0]

    def save(self, ctx: Any, arguments: tuple, made: tuple[Tensor, ...]) -> None:
        """Keeps the gradients if they were made, otherwise what they can be made of."""
        ctx.made = arguments[-1]
        if ctx.made:
            ctx.save_for_backward(*self.present(made, ctx.made))
        else:
            ctx.save_for_backward(*arguments[: self.tensors])
            ctx.settings = arguments[self.tensors : -1]

    def gradients(self, ctx: Any, upstream: Tensor, is_one: bool) -> list[Tensor | None]:
        """One for each argument of the forward operator."""
        if torch.is_grad_enabled():  # so it is under create_graph=True, and only then
            raise RuntimeError(f"{self.name}: its gradient cannot be differentiated again (create_graph=True)")
        needs = ctx.needs_input_grad
        if ctx.made:
            found = ctx.saved_tensors if is_one else [gradient * upstream for gradient in ctx.saved_tensors]
        else:
            flags = self.flags(needs)
            with _C._ExcludeDispatchKeyGuard(_WITHOUT_AUTOCAST):
                found = self.backward(upstream, *ctx.saved_tensors, *ctx.settings, *flags)
            found = self.present(found if isinstance(found, tuple) else (found,), 1 + any(flags))
        found = self.placed(found)
        return [g if need else None for g, need in zip_longest(found, needs)]

    def present(self, made: tuple[Tensor, ...], wanted: int) -> tuple[Tensor, ...]:
        """Each gradient among the outputs of an operator behind the loss, of which so many hold some."""
        return made

    def flags(self, needs: tuple[bool, ...]) -> tuple[bool, ...]:
        """What the backward operator takes last."""
        return ()

    def placed(self, found: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """The gradients in the order of the forward operator's first arguments."""
        return found


class SigmoidLoss(Loss):
    """The one with gradients for class vectors: made on demand, four in one tensor."""

    COMPENSATION = slice(2, 6)  # the arguments that they belong to

    def present(self, made: tuple[Tensor, ...], wanted: int) -> tuple[Tensor, ...]:
        return (made[0], *made[1].unbind(0)) if wanted == 2 else made[:1]

    def flags(self, needs: tuple[bool, ...]) -> tuple[bool, ...]:
        return (any(needs[self.COMPENSATION]),)

    def placed(self, found: Sequence[Tensor]) -> Sequence[Tensor | None]:
        logits, *of_classes = found
        return (logits, None, *of_classes)


@functools.cache
def register(namespace: str) -> dict[str, Loss]:
    """Tells PyTorch about the losses of a loaded library; done once for each."""
    library = torch.library.Library(namespace, "FRAGMENT")
    _kept.append(library)
    return {name: (SigmoidLoss if name == "sigmoid_loss" else Loss)(namespace, name, library) for name in NAMES}


@functools.cache
def register_norm(namespace: str) -> None:
    """The same for batch norm with its ReLU, which only needs its shapes known: fastlt.ops.norm differentiates it."""
    operators = getattr(torch.ops, namespace)
    torch.library.register_fake(operators.batch_norm_relu.default, fakes.batch_norm_relu)
    torch.library.register_fake(operators.batch_norm_relu_backward.default, fakes.batch_norm_relu_backward)


def _function(loss: Loss) -> type[Function]:
    """The eager call of a loss: nothing but its kernels between PyTorch's autograd and the result."""

    def forward(ctx: Any, *arguments: Any) -> Tensor:
        with _C._ExcludeDispatchKeyGuard(_ONLY_KERNELS):
            result, *made = loss.forward(*arguments)
        loss.save(ctx, arguments, made)
        return result

    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(loss.gradients(ctx, upstream, _is_one(upstream)))

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(loss.name, (Function,), members)


def _is_one(upstream: Tensor) -> bool:
    """Whether a look at the value costs nothing and shows 1: then the gradients are returned without a copy."""
    if type(upstream) is not Tensor or not upstream.is_cpu or upstream.ndim or _C._len_torch_dispatch_stack():
        return False  # a mode that watches or replaces operators shall not see a value being read
    try:
        return upstream.item() == 1.0
    except RuntimeError:  # one of a batch of upstream gradients has no value of its own
        return False


def _register_autograd(loss: Loss, library: torch.library.Library) -> None:
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        loss.save(ctx, inputs, output[1:])

    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return (None,) * len(ctx.needs_input_grad)
        return tuple(loss.gradients(ctx, upstream, is_one=False))

    torch.library.register_autograd(loss.forward, backward, setup_context=setup_context, lib=library)


def _register_fakes(loss: Loss, library: torch.library.Library) -> None:
    torch.library.register_fake(loss.forward, fakes.forward(loss.name), lib=library)
    torch.library.register_fake(loss.backward, fakes.backward(loss.name), lib=library)


def _register_autocast(operator: torch._ops.OpOverload, library: torch.library.Library) -> None:
    """Under autocast every input stays as it is, and so does every product inside."""

    def call(*arguments: Any) -> Any:
        with _C._ExcludeDispatchKeyGuard(_WITHOUT_AUTOCAST):
            return operator(*arguments)

    for key in _AUTOCAST:
        library.impl(operator, call, key)
