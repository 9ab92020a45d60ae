"""How a loss pulls at one logit: its gradient where the label is positive, negative, and unknown."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastlt import methods
from fastlt.config import MethodConfig
from fastlt.errors import UserError
from fastlt.methods.base import LossOfLogits
from fastlt.progress import Progress, TrainingSet

LABELS = {"positive": 1, "negative": 0, "unknown": -1}
_BEGINNING = Progress(step=0, steps=1, epoch=0.0, epochs=1.0)
_COUNT = 1000  # training images of every class, half of them all


def loss_gradients(config: MethodConfig, logits: np.ndarray) -> dict[str, list[float]]:
    """{"positive": dL/dx, "negative": ..., "unknown": ...} at each x of `logits`, float64 [n], by autograd of the loss.

    L is the method's loss of one image with one class, whose logit is x. A loss that compares classes, and so says
    nothing of one alone, is given a second one with the other label and logit 0. Every class is in half of the images,
    and the run is at its first step. A loss of one label an image knows no unknown ones.

    Raises UserError for a method whose loss is no function of logits and labels alone.
    """
    alone = _gradients(config, logits, classes=1)
    return alone if any(np.any(values) for values in alone.values()) else _gradients(config, logits, classes=2)


def _gradients(config: MethodConfig, logits: np.ndarray, classes: int) -> dict[str, list[float]]:
    loss, multi_label = _loss(config, classes)
    found = {}
    for name, label in LABELS.items():
        if multi_label:
            other = -1 if label < 0 else 1 - label
            labels = torch.tensor([[label, other][:classes]], dtype=torch.int8)
        elif label < 0:
            continue
        else:
            labels = torch.tensor([1 - label if classes > 1 else 0])
        found[name] = [_gradient(loss, float(x), labels, classes) for x in logits]
    return found


def _gradient(loss: LossOfLogits, x: float, labels: Tensor, classes: int) -> float:
    logits = torch.zeros((1, classes), dtype=torch.float64)
    logits[0, 0] = x
    logits.requires_grad_()
    loss(logits, labels, _BEGINNING).backward()
    return float(logits.grad[0, 0])


def _loss(config: MethodConfig, classes: int) -> tuple[LossOfLogits, bool]:
    """The loss and whether it takes several labels an image, as it does if it can.

    For one that needs attributes, the classes are the values of one.
    """
    names = [f"class {number}" for number in range(classes)]
    attribute = {"attribute": list(range(classes))}
    several, one = (
        TrainingSet("even", "", names, [_COUNT] * classes, {}, multi_label, 2 * _COUNT, attribute)
        for multi_label in (True, False)
    )
    kind = methods.kind(config.name)
    try:
        return kind.loss_of_logits(config, several), True
    except UserError:
        return kind.loss_of_logits(config, one), False
