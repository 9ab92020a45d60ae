"""Checks the native library of the fastlt that is imported in this Python, whose torch need not be the one it was
compiled with: every operator against its reference, values and gradients, on the CPU.

PYTHONPATH=folder-with-fastlt python tests/load_elsewhere.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from fastlt import ops
from fastlt.ops import library, reference

ROWS, CLASSES, WIDTH = 9, 37, 16
TOLERANCE = 1e-4


def cases() -> dict[str, tuple[list[Tensor], Callable]]:
    """For each operator its differentiable inputs, and a function of `ops` or `reference` and of them."""
    torch.manual_seed(0)
    logits, teacher = 3 * torch.randn(ROWS, CLASSES), torch.randn(ROWS, CLASSES)
    features, prototypes = torch.randn(ROWS, WIDTH), torch.randn(CLASSES, WIDTH)
    targets = torch.randint(-1, 2, (ROWS, CLASSES), dtype=torch.int8)
    labels = torch.arange(ROWS) // 2
    prior = torch.rand(CLASSES).log()
    asymmetric = {"gamma_negative": 4.0, "margin": 0.05}
    return {
        "sigmoid_loss": ([logits], lambda module, x: module.sigmoid_loss(x, targets, **asymmetric)),
        "lsep": ([logits], lambda module, x: module.lsep(x, targets)),
        "balanced_softmax": ([logits], lambda module, x: module.balanced_softmax(x, labels, prior)),
        "dive": ([logits], lambda module, x: module.dive(x, teacher, labels, prior, temperature=2.0)),
        "prototype_contrastive": (
            [features, prototypes],
            lambda module, f, p: module.prototype_contrastive(f, p, labels, temperature=0.1),
        ),
        "supervised_contrastive": (
            [features],
            lambda module, f: module.supervised_contrastive(f, labels, temperature=0.1),
        ),
    }


def results(loss: Callable, inputs: list[Tensor], module) -> list[Tensor]:
    """The loss and its gradients."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    value = loss(module, *leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def main() -> int:
    print(f"torch {torch.__version__}: {library.description()}")
    if library.namespace() is None:
        return 1
    bad = 0
    for name, (inputs, loss) in cases().items():
        pairs = zip(results(loss, inputs, ops), results(loss, inputs, reference), strict=True)
        error = max((got - expected).abs().max().item() for got, expected in pairs)
        print(f"{name:24} largest difference {error:.1e}")
        bad += not error < TOLERANCE
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
