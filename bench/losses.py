"""The fused losses against the same in eager PyTorch and under torch.compile: forward and backward of one step.

Every contestant of a case is called in turn; before each call of a large case a buffer larger than the caches is
written, since in a training step other work has evicted the logits too. `vs_x` is the time of x over ours, the median
over rounds; `copy` copies the logits (or features and prototypes) once, the least that any loss must do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fastlt.bench import eager_losses as eager
from fastlt.bench.memory import peak_bytes
from torch import Tensor

from fastlt import ops

ROUNDS, EVICTED_BYTES, SMALL = 11, 256 << 20, 1 << 20


@dataclass(frozen=True)
class Subject:
    """One loss at one setting and shape: what it is called with, and who calls it."""

    op: str
    setting: str
    shape: list[int]
    leaves: list[Tensor]  # that get gradients; the first is what `copy` copies
    ours: Callable[[], Tensor]
    eager: Callable[[], Tensor]
    others: dict[str, Callable[[], Tensor]] = field(default_factory=dict)


def cases(data: Path | None) -> list[dict]:
    """Each case: op, setting, shape, dtype, ms, vs_eager, vs_compile, vs_copy, peak_bytes, peak_bytes_eager ..."""
    return [measure(subject) for subject in subjects()]


def subjects(shrink: int = 1) -> list[Subject]:
    """All that is timed, the same numbers every time; `shrink` divides every shape, for tests."""
    torch.manual_seed(1)
    rows = 256 // shrink
    found = []
    for classes in (9605 // shrink, 1000 // shrink, 80):
        found += [_asymmetric(rows, classes), _compensated(rows, classes)]
    found.append(_asymmetric(rows, 9605 // shrink, torch.bfloat16))
    found += [_lsep(rows, 1000 // shrink), *_single_label(2 * rows, 1000 // shrink)]
    return [*found, _prototype(2 * rows, 8142 // shrink, 128), _supervised(4 * rows, 128)]


def measure(subject: Subject, compiled: bool = True) -> dict:
    size = subject.leaves[0].numel()
    contestants = {"ours": subject.ours, "eager": subject.eager, **subject.others}
    if compiled:
        contestants["compile"] = torch.compile(subject.eager)
    work = {name: _step(subject, loss) for name, loss in contestants.items()}
    target = torch.empty_like(subject.leaves[0])
    work["copy"] = lambda: target.copy_(subject.leaves[0].detach())
    times = _milliseconds_in_turn(work, repeats=1 if size >= SMALL else 20)
    torch.compiler.reset()
    found = {
        "op": subject.op,
        "setting": subject.setting,
        "shape": subject.shape,
        "dtype": str(subject.leaves[0].dtype).removeprefix("torch."),
        "ms": round(statistics.median(times["ours"]), 4),
    }
    for name in ("eager", "compile", "copy", *subject.others):
        if name in times:
            ratios = [theirs / own for theirs, own in zip(times[name], times["ours"], strict=True)]
            found[f"vs_{name}"] = round(statistics.median(ratios), 2)
    found["peak_bytes"] = peak_bytes(work["ours"])
    found["peak_bytes_eager"] = peak_bytes(work["eager"])
    found["samples_ms"] = {name: [round(value, 4) for value in values] for name, values in times.items()}
    return found


def _step(subject: Subject, loss: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        for leaf in subject.leaves:
            leaf.grad = None
        loss().backward()

    return step


def _milliseconds_in_turn(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    evicted = torch.zeros(EVICTED_BYTES // 4) if repeats == 1 else None
    for call in work.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, call in work.items():
            if evicted is None:
                call()
            else:
                evicted.add_(1)
            begin = time.perf_counter()
            for _ in range(repeats):
                call()
            times[name].append((time.perf_counter() - begin) / repeats * 1000)
    return times


def _multi_label(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits that get gradients, and int8 targets of which 2 % are positive, as with many classes."""
    logits = torch.randn(rows, classes).to(dtype).requires_grad_()
    return logits, (torch.rand(rows, classes) < 0.02).to(torch.int8)


def _asymmetric(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> Subject:
    x, targets = _multi_label(rows, classes, dtype)
    y = targets.to(dtype)
    settings = {"gamma_negative": 4.0, "margin": 0.05, "detach_focus": True, "reduction": "sum"}
    return Subject(
        "sigmoid_loss",
        "asymmetric",
        [rows, classes],
        [x],
        lambda: ops.sigmoid_loss(x, targets, **settings),
        lambda: eager.asymmetric(x, y),
    )


def _compensated(rows: int, classes: int) -> Subject:
    x, targets = _multi_label(rows, classes)
    y = targets.float()
    compensation = [torch.full((classes,), float(value), requires_grad=True) for value in (1, 0, 1, 0)]
    weights = [torch.full((classes,), value) for value in (2.0, 1.1)]
    names = ("positive_scale", "positive_shift", "negative_scale", "negative_shift")
    settings = dict(zip(names, compensation, strict=True))
    settings |= {"positive_weight": weights[0], "negative_weight": weights[1]}
    return Subject(
        "sigmoid_loss",
        "compensated, four class gradients",
        [rows, classes],
        [x, *compensation],
        lambda: ops.sigmoid_loss(x, targets, **settings),
        lambda: eager.compensated(x, y, compensation, weights),
    )


def _lsep(rows: int, classes: int) -> Subject:
    x, targets = _multi_label(rows, classes)
    targets[:, 0] = 1
    y = targets.bool()
    return Subject(
        "lsep",
        "vectorised form as eager",
        [rows, classes],
        [x],
        lambda: ops.lsep(x, targets),
        lambda: eager.lsep_vectorised(x, y),
        {"loop": lambda: eager.lsep_loop(x, y)},
    )


def _single_label(rows: int, classes: int) -> list[Subject]:
    x = torch.randn(rows, classes, requires_grad=True)
    teacher, labels = torch.randn(rows, classes), torch.randint(0, classes, (rows,))
    prior = torch.linspace(7, 1, classes)
    return [
        Subject(
            "balanced_softmax",
            "",
            [rows, classes],
            [x],
            lambda: ops.balanced_softmax(x, labels, prior),
            lambda: eager.balanced_softmax(x, labels, prior),
        ),
        Subject(
            "dive",
            "temperature 3, power 0.5",
            [rows, classes],
            [x],
            lambda: ops.dive(x, teacher, labels, prior, temperature=3.0, power=0.5),
            lambda: eager.dive(x, teacher, labels, prior, 3.0, 0.5),
        ),
    ]


def _prototype(rows: int, classes: int, dims: int) -> Subject:
    features, prototypes = torch.randn(rows, dims, requires_grad=True), torch.randn(classes, dims, requires_grad=True)
    labels = torch.randint(0, classes, (rows,))
    return Subject(
        "prototype_contrastive",
        "temperature 0.1",
        [rows, classes, dims],
        [prototypes, features],
        lambda: ops.prototype_contrastive(features, prototypes, labels, temperature=0.1),
        lambda: eager.prototype_contrastive(features, prototypes, labels, 0.1),
    )


def _supervised(rows: int, dims: int) -> Subject:
    features, labels = torch.randn(rows, dims, requires_grad=True), torch.arange(rows) % 10
    return Subject(
        "supervised_contrastive",
        "temperature 0.1, 10 classes",
        [rows, dims],
        [features],
        lambda: ops.supervised_contrastive(features, labels, temperature=0.1),
        lambda: eager.supervised_contrastive(features, labels, 0.1),
    )
