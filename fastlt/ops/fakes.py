"""Shapes and types of what the operators return, for compilation and for meta and fake tensors: no kernel runs.

`forward` and `backward` give the functions to register. The function of an operator's name takes what the operator
takes before `reduction` and gives tensors like its gradients. The last two are batch norm's, to register as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastlt.ops.checks import (
    check_device,
    check_labels,
    check_matrix,
    check_same,
    check_targets,
    check_vector,
    check_weight,
    wide,
)

ROW = 0  # the operators' code of reduction "row"


def forward(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def fake(*arguments: Any) -> tuple[Tensor, ...]:
        *inputs, reduction, wanted = arguments
        gradients = _FAKES[name](*inputs)
        made = wanted if name == "sigmoid_loss" else wanted * len(gradients)
        rows = inputs[0]
        loss = rows.new_empty(rows.shape[:1] if reduction == ROW else (), dtype=wide(rows.dtype))
        return loss, *gradients[:made], *(gradient.new_empty(0) for gradient in gradients[made:])

    return fake


def backward(name: str) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    def fake(upstream: Tensor, *arguments: Any) -> Tensor | tuple[Tensor, ...]:
        if name == "sigmoid_loss":
            *inputs, _, of_classes = arguments
            logits, classes = _FAKES[name](*inputs)
            return logits, classes if of_classes else classes.new_empty(0)
        gradients = _FAKES[name](*arguments[:-1])
        return gradients if len(gradients) > 1 else gradients[0]

    return fake


def like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def sigmoid_loss(logits: Tensor, targets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    op, vectors, weight = "sigmoid_loss", rest[:6], rest[6]
    check_matrix(op, "logits", logits, "[B, C]")
    check_targets(op, targets, logits)
    for vector in vectors:
        check_vector(op, "a class vector", vector, logits)
    check_weight(op, weight, logits)
    return like(logits), logits.new_empty((4, logits.shape[1]), dtype=wide(logits.dtype))


def lsep(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    check_matrix("lsep", "logits", logits, "[B, C]")
    check_targets("lsep", targets, logits)
    return (like(logits),)


def balanced_softmax(logits: Tensor, labels: Tensor, log_prior: Tensor) -> tuple[Tensor, ...]:
    return _single_label("balanced_softmax", logits, labels, log_prior)


def dive(logits: Tensor, teacher_logits: Tensor, labels: Tensor, log_prior: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    check_matrix("dive", "teacher_logits", teacher_logits, "[B, C]")
    check_same("dive", "teacher_logits", teacher_logits, logits)
    return _single_label("dive", logits, labels, log_prior)


def _single_label(op: str, logits: Tensor, labels: Tensor, log_prior: Tensor) -> tuple[Tensor, ...]:
    check_matrix(op, "logits", logits, "[B, C]")
    check_labels(op, labels, logits)
    check_vector(op, "log_prior", log_prior, logits)
    return (like(logits),)


def prototype_contrastive(features: Tensor, prototypes: Tensor, labels: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    op = "prototype_contrastive"
    check_matrix(op, "features", features, "[B, D]")
    check_matrix(op, "prototypes", prototypes, "[C, D]")
    check_device(op, "prototypes", prototypes, features)
    check_labels(op, labels, features)
    return like(features), like(prototypes)


def supervised_contrastive(features: Tensor, labels: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    op = "supervised_contrastive"
    check_matrix(op, "features", features, "[N, D]")
    check_labels(op, labels, features)
    return (like(features),)


_FAKES = {
    function.__name__: function
    for function in (sigmoid_loss, lsep, balanced_softmax, dive, prototype_contrastive, supervised_contrastive)
}


def batch_norm_relu(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
    return torch.empty_like(x), like(weight), like(weight)


def batch_norm_relu_backward(
    grad: Tensor, x: Tensor, residual: Tensor | None, y: Tensor | None, weight: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    of_residual = x.new_empty(0) if residual is None and y is None else torch.empty_like(x)
    return torch.empty_like(x), of_residual, like(weight), like(weight)
