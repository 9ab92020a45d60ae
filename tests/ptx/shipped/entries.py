"""Kernels over logits: sigmoid_loss, lsep, balanced_softmax, dive. The truth is fastlt.ops.reference in float64."""

from __future__ import annotations

import numpy as np
import torch

from fastlt.ops import reference

from .bench import Bench
from .structures import VECTORS, LsepInput, Power, SigmoidInput, SigmoidSettings, SoftmaxInput, Upstream

GRADIENT_BLOCK = 128
# Of each form: exponents of positives, negatives and unknown, and the margin. As methods use them (cross-entropy,
# focal, asymmetric), and with exponents that are no whole numbers.
SETTINGS = ((0.0, 0.0, 0.0, 0.0), (2.0, 2.0, 2.0, 0.0), (0.0, 4.0, 4.0, 0.05))
ODD_SETTINGS = ((0.0, 0.0, 0.0, 0.0), (1.0, 2.5, 4.0, 0.0), (0.5, 4.0, 2.5, 0.05))


def _derived(loss, inputs: dict[str, np.ndarray], upstream: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The loss of rows in float64, and its gradients with respect to some inputs by their names."""
    tensors = {name: torch.from_numpy(values).requires_grad_() for name, values in inputs.items()}
    rows = loss(**tensors)
    rows.backward(torch.from_numpy(upstream))
    return rows.detach().numpy(), {name: tensor.grad.numpy() for name, tensor in tensors.items()}


def _targets(bench: Bench) -> np.ndarray:
    """int8 with all three kinds; the first row has no positive."""
    share = [0.3, 0.4, 0.3] if bench.shape.dressed else [0.03, 0.94, 0.03]
    targets = bench.random.choice([-1, 0, 1], (bench.shape.rows, bench.shape.columns), p=share).astype(np.int8)
    targets[0] = np.minimum(targets[0], 0)
    return targets


def upstream_of(bench: Bench) -> tuple[Upstream, np.ndarray]:
    """One for each row if the kernel is dressed, otherwise one for all; and what each row gets in the end."""
    rows, factor = bench.shape.rows, 0.25
    if bench.shape.dressed:
        values = bench.random.random(rows).astype(np.float32).astype(np.float64)
        on_device = np.array([0.5])
        return Upstream(bench.give(values), True, factor, bench.give(on_device)), values * factor * 0.5
    return Upstream(bench.give(np.array([1.5])), False, factor, 0), np.full(rows, 1.5 * factor)


# ---- sigmoid_loss


def _sigmoid(bench: Bench, form: int) -> tuple[SigmoidInput, object, dict[str, np.ndarray]]:
    """The kernel's input, the loss of rows as a function of the differentiable inputs, and those."""
    classes, dressed = bench.shape.columns, bench.shape.dressed
    targets, logits = _targets(bench), bench.normal(bench.shape.rows, classes, scale=4)
    single = {name: bench.random.uniform(0.5, 1.5, classes).astype(np.float32).astype(np.float64) for name in VECTORS}
    vectors = single if dressed else {}
    weight = bench.random.random(targets.shape).astype(np.float32).astype(np.float64)
    counted = bench.random.random(targets.shape) < 0.8
    given = {0: None, 1: weight, 2: counted}[dressed]
    positive, negative, unknown, margin = (ODD_SETTINGS if dressed else SETTINGS)[form]

    given_in = SigmoidInput(logits=bench.give(logits, bench.name.type), targets=bench.give(targets))
    for name, values in vectors.items():
        setattr(given_in, name, bench.give(values))
    given_in.weight = bench.give(weight) if dressed == 1 else 0
    given_in.counted = bench.give(counted.view(np.uint8)) if dressed == 2 else 0
    powers = (Power.of(value) for value in (positive, negative, unknown))
    given_in.settings = SigmoidSettings(*powers, margin, dressed == 2, dressed == 1)
    given_in.rows, given_in.classes = logits.shape

    def loss(logits, **learnt):
        fixed = {name: torch.from_numpy(vectors[name]) for name in VECTORS[4:] if name in vectors}
        return reference.sigmoid_loss(
            logits, torch.from_numpy(targets), **learnt, **fixed, weight=None if given is None else torch.tensor(given),
            gamma_positive=positive, gamma_negative=negative, gamma_unknown=unknown, margin=margin,
            detach_focus=dressed == 2, unknown="ignore" if dressed == 1 else "negative", reduction="row",
        )  # fmt: skip

    return given_in, loss, {"logits": logits, **{name: vectors[name] for name in VECTORS[:4] if name in vectors}}


def sigmoid_rows(bench: Bench) -> None:
    given, loss, inputs = _sigmoid(bench, bench.name.flags[0])
    rows, _ = _derived(loss, inputs, np.ones(bench.shape.rows))
    bench.launch(bench.shape.rows, bench.row_block(bench.shape.columns), given, bench.want("loss", rows))


def sigmoid_gradients(bench: Bench) -> None:
    """With gradients of the classes only where there are vectors: otherwise nobody asks for them."""
    form, with_classes = bench.name.flags
    given, loss, inputs = _sigmoid(bench, form)
    upstream, of_rows = upstream_of(bench)
    _, gradients = _derived(loss, inputs, of_rows)
    grid, block = _gradient_shape(bench, bool(with_classes))
    walkers = grid[1] * block[1]
    target = bench.want("grad_logits", gradients["logits"], bench.name.type)
    partial = 0
    if with_classes:
        none = np.zeros(bench.shape.columns)
        of_classes = np.stack([gradients.get(name, none) for name in VECTORS[:4]])
        if not bench.shape.dressed:
            of_classes = _gradients_at_unit_vectors(loss, inputs, of_rows)
        truth = np.concatenate([of_classes[None], np.zeros((walkers - 1, *of_classes.shape))])
        partial = bench.want("partial sums", truth)
    bench.launch(grid, block, given, upstream, target, partial)


def _gradients_at_unit_vectors(loss, inputs: dict, upstream: np.ndarray) -> np.ndarray:
    """Absent vectors are scale 1 and shift 0, and have gradients all the same."""
    classes = inputs["logits"].shape[1]
    units = {name: np.full(classes, float("scale" in name)) for name in VECTORS[:4]}
    return np.stack([_derived(loss, {**inputs, **units}, upstream)[1][name] for name in VECTORS[:4]])


def _gradient_shape(bench: Bench, class_sums: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """As the host code chooses it."""
    packs = -(-bench.shape.columns // bench.name.width)
    across = 8
    while across < packs and across < GRADIENT_BLOCK:
        across *= 2
    columns, down = -(-packs // across), GRADIENT_BLOCK // across
    wanted = -(-bench.shape.rows // (16 if class_sums else 4))
    return (columns, max(-(-wanted // down), 1)), (across, down)


# ---- lsep


def lsep_rows(bench: Bench) -> None:
    (gradient,) = bench.name.flags
    rows, classes = bench.shape.rows, bench.shape.columns
    targets, logits = _targets(bench), bench.normal(rows, classes, scale=4)
    given = LsepInput(bench.give(logits, bench.name.type), bench.give(targets), rows, classes)
    upstream, of_rows = upstream_of(bench) if gradient else (Upstream(), np.ones(rows))

    def loss(logits):
        return reference.lsep(logits, torch.from_numpy(targets), reduction="row")

    losses, gradients = _derived(loss, {"logits": logits}, of_rows)
    block = bench.row_block(classes)
    if gradient:
        target = bench.want("grad_logits", gradients["logits"], bench.name.type)
        bench.launch(rows, block, given, upstream, 0, target)
    else:
        bench.launch(rows, block, given, upstream, bench.want("loss", losses), 0)


# ---- balanced_softmax and dive


def _softmax(bench: Bench, distil: int) -> tuple[SoftmaxInput, object, dict[str, np.ndarray]]:
    rows, classes = bench.shape.rows, bench.shape.columns
    logits, teacher = bench.normal(rows, classes, scale=3), bench.normal(rows, classes, scale=3)
    labels = bench.random.integers(0, classes, rows)
    prior = bench.random.uniform(-6, 0, classes).astype(np.float32).astype(np.float64)
    if bench.shape.dressed and classes > 2:
        prior[np.setdiff1d(np.arange(classes), labels)[0]] = -np.inf  # a class without images
    given = SoftmaxInput(logits=bench.give(logits, bench.name.type), labels=bench.give(labels))
    given.teacher = bench.give(teacher, bench.name.type) if distil else 0
    given.log_prior = bench.give(prior)
    given.temperature, given.power, given.alpha = 2.0, 0.5, 0.75
    given.rows, given.classes = rows, classes

    def loss(logits):
        fixed = torch.from_numpy(labels), torch.from_numpy(prior)
        if not distil:
            return reference.balanced_softmax(logits, *fixed, reduction="row")
        settings = {"temperature": 2.0, "power": 0.5, "alpha": 0.75, "reduction": "row"}
        return reference.dive(logits, torch.from_numpy(teacher), *fixed, **settings)

    return given, loss, {"logits": logits}


def softmax_losses(bench: Bench) -> None:
    given, loss, inputs = _softmax(bench, *bench.name.flags)
    rows, _ = _derived(loss, inputs, np.ones(bench.shape.rows))
    bench.launch(bench.shape.rows, bench.row_block(bench.shape.columns), given, bench.want("loss", rows))


def softmax_gradients(bench: Bench) -> None:
    given, loss, inputs = _softmax(bench, *bench.name.flags)
    upstream, of_rows = upstream_of(bench)
    _, gradients = _derived(loss, inputs, of_rows)
    target = bench.want("grad_logits", gradients["logits"], bench.name.type)
    bench.launch(bench.shape.rows, bench.row_block(bench.shape.columns), given, upstream, target)


CASES = {
    case.__name__: case for case in (sigmoid_rows, sigmoid_gradients, lsep_rows, softmax_losses, softmax_gradients)
}
