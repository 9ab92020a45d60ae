"""The losses with settings and inputs that cover their behaviour, for every test of this folder.

A case makes inputs of any size and type and calls its loss in `fastlt.ops` or in `fastlt.ops.reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from fastlt.ops import reference

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
COMPENSATION = ("positive_scale", "positive_shift", "negative_scale", "negative_shift")


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass
class Inputs:
    """What a loss is called with: what gets gradients, what does not, and the settings."""

    learnt: dict[str, Tensor]
    given: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)

    def double(self) -> Inputs:
        """The same rounded values in float64."""
        given = {name: x.double() if x.is_floating_point() else x for name, x in self.given.items()}
        return Inputs({name: x.double() for name, x in self.learnt.items()}, given, self.settings)

    def change(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Every tensor changed."""
        learnt = {name: change(x) for name, x in self.learnt.items()}
        return Inputs(learnt, {name: change(x) for name, x in self.given.items()}, self.settings)


@dataclass(frozen=True)
class Case:
    """`make(batch, classes, dtype, scale, generator)` -> Inputs."""

    name: str
    op: str
    make: Callable[[int, int, torch.dtype, float, torch.Generator], Inputs]

    def inputs(self, batch: int, classes: int, dtype=torch.float32, scale: float = 3.0, seed: int = 0) -> Inputs:
        return self.make(batch, classes, dtype, scale, torch.Generator().manual_seed(seed))

    def loss(self, module: ModuleType, inputs: Inputs, **changes: Any) -> Tensor:
        function = getattr(module, self.op)
        return function(**inputs.learnt, **inputs.given, **{**inputs.settings, **changes})

    def value_and_gradients(
        self, module: ModuleType, inputs: Inputs, upstream: float | Tensor = 1.0, **changes: Any
    ) -> dict[str, Tensor]:
        """The loss and the gradient of each learnt input, by name."""
        learnt = {name: x.detach().requires_grad_() for name, x in inputs.learnt.items()}
        loss = self.loss(module, Inputs(learnt, inputs.given, inputs.settings), **changes)
        upstream = upstream if isinstance(upstream, Tensor) else torch.full_like(loss, upstream)
        gradients = torch.autograd.grad(loss, tuple(learnt.values()), upstream)
        return {"loss": loss.detach(), **dict(zip(learnt, gradients, strict=True))}

    def exact(self, inputs: Inputs, upstream: float | Tensor = 1.0, **changes: Any) -> dict[str, Tensor]:
        """The same by the reference in float64."""
        upstream = upstream.double() if isinstance(upstream, Tensor) else upstream
        return self.value_and_gradients(reference, inputs.double(), upstream, **changes)


def normal(shape, dtype, generator, scale=1.0) -> Tensor:
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def uniform(shape, dtype, generator, low=0.5, high=1.5) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)


def targets_of(shape, generator) -> Tensor:
    """By rows in turn: a third each of positive, negative and unknown; few positives; few and half unknown."""
    thirds = torch.randint(-1, 2, shape, generator=generator)
    few = (torch.rand(shape, generator=generator) < 0.06).long()
    partial = torch.where(few > 0, few, torch.randint(-1, 1, shape, generator=generator))
    kind = torch.arange(shape[0])[:, None] % 3
    return torch.where(kind == 0, thirds, torch.where(kind == 1, few, partial)).to(torch.int8)


def _sigmoid(name: str, compensated: bool = False, weighted: bool = False, weight: str = "", **settings) -> Case:
    def make(batch, classes, dtype, scale, generator) -> Inputs:
        shape = batch, classes
        learnt = {"logits": normal(shape, dtype, generator, scale)}
        given = {"targets": targets_of(shape, generator)}
        if compensated:
            for vector in COMPENSATION:
                make_vector = uniform if vector.endswith("scale") else normal
                learnt[vector] = make_vector(classes, wide(dtype), generator)
        if weighted:
            given["positive_weight"] = uniform(classes, wide(dtype), generator)
            given["negative_weight"] = uniform(classes, wide(dtype), generator)
        if weight:
            values = uniform(shape, wide(dtype), generator)
            given["weight"] = values > 0.8 if weight == "bool" else values
        return Inputs(learnt, given, settings)

    return Case(name, "sigmoid_loss", make)


def _lsep(batch, classes, dtype, scale, generator) -> Inputs:
    shape = batch, classes
    return Inputs({"logits": normal(shape, dtype, generator, scale)}, {"targets": targets_of(shape, generator)})


def _single_label(batch, classes, dtype, scale, generator) -> Inputs:
    labels = torch.randint(0, max(classes, 1), (batch,), generator=generator)
    log_prior = uniform(classes, wide(dtype), generator, 0.01, 1).log()
    return Inputs(
        {"logits": normal((batch, classes), dtype, generator, scale)}, {"labels": labels, "log_prior": log_prior}
    )


def _dive(batch, classes, dtype, scale, generator) -> Inputs:
    inputs = _single_label(batch, classes, dtype, scale, generator)
    inputs.given["teacher_logits"] = normal((batch, classes), dtype, generator, scale)
    inputs.settings = {"temperature": 3.0, "power": 0.5, "alpha": 0.4}
    return inputs


def _prototype(positive_in_denominator: bool, temperature: float, depth: int = 19):
    def make(batch, classes, dtype, scale, generator) -> Inputs:
        learnt = {
            "features": normal((batch, depth), dtype, generator, scale),
            "prototypes": normal((classes, depth), dtype, generator, scale),
        }
        labels = torch.randint(0, classes, (batch,), generator=generator)
        settings = {"temperature": temperature, "positive_in_denominator": positive_in_denominator}
        return Inputs(learnt, {"labels": labels}, settings)

    return make


def _supervised(batch, classes, dtype, scale, generator) -> Inputs:
    """`classes` is the depth here; labels repeat about thrice and one is alone."""
    features = normal((batch, classes), dtype, generator, scale)
    labels = torch.randint(0, batch // 3 + 1, (batch,), generator=generator)
    if batch:
        labels[0] = 1_000_000
    return Inputs({"features": features}, {"labels": labels}, {"temperature": 0.1})


CASES = (
    _sigmoid("bce"),
    _sigmoid("compensated", compensated=True, weighted=True),
    _sigmoid("focal", gamma_positive=2.0, gamma_negative=2.0),
    _sigmoid("fractional", gamma_positive=0.5, gamma_negative=1.7, gamma_unknown=2.5, unknown="negative"),
    _sigmoid("asymmetric", gamma_negative=4.0, margin=0.05),
    _sigmoid(
        "partial",
        weight="bool",
        gamma_positive=1.0,
        gamma_negative=3.0,
        gamma_unknown=4.0,
        detach_focus=True,
        unknown="negative",
    ),
    _sigmoid(
        "everything",
        compensated=True,
        weighted=True,
        weight="float",
        gamma_positive=1.0,
        gamma_negative=2.5,
        gamma_unknown=4.0,
        margin=0.1,
        unknown="negative",
    ),
    Case("lsep", "lsep", _lsep),
    Case("balanced_softmax", "balanced_softmax", _single_label),
    Case("dive", "dive", _dive),
    Case("prototype", "prototype_contrastive", _prototype(False, 0.1)),
    Case("prototype_all", "prototype_contrastive", _prototype(True, 1.0)),
    Case("supervised", "supervised_contrastive", _supervised),
)
BY_NAME = {case.name: case for case in CASES}
ONE_EACH = tuple(
    BY_NAME[name] for name in ("everything", "lsep", "balanced_softmax", "dive", "prototype", "supervised")
)


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """For a result of this type against an exact one; the law of accuracy is kept elsewhere."""
    relative = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    return {"rtol": relative, "atol": relative * (1e-2 if dtype == torch.float16 else 1e-3)}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], slack: float = 1.0) -> None:
    """Each in the tolerance of its type times `slack`, relative also to the largest of its tensor (sums cancel)."""
    for name, value in wanted.items():
        allowed = {kind: slack * size for kind, size in tolerance(found[name].dtype).items()}
        size = value.abs()[value.isfinite()].max().item() if value.isfinite().any() else 0.0
        allowed["atol"] += allowed["rtol"] * size * 0.1
        torch.testing.assert_close(
            found[name].double(), value.double(), **allowed, msg=lambda text, name=name: f"{name}: {text}"
        )
