"""How a loss pulls at one logit: its gradient where the label is positive, and where it is negative."""

from __future__ import annotations

import numpy as np
import torch

from fastlt import losses
from fastlt.config import LossConfig
from fastlt.errors import UserError
from fastlt.losses.base import Loss
from fastlt.progress import Progress, TrainingSet

_BEGINNING = Progress(step=0, steps=1, epoch=0.0, epochs=1.0)
_COUNT = 1000  # training images of every class


def loss_gradients(config: LossConfig, logits: np.ndarray) -> dict[str, list[float]]:
    """{"positive": dL/dx, "negative": dL/dx} at each x of `logits`, float64 [n], by autograd of the loss itself.

    L is the loss of one image with one class, whose logit is x. A loss that compares classes, and so says nothing of
    one alone, is given a second one with the other label and logit 0. All classes are equally frequent, and the run is
    at its first step.
    """
    alone = _gradients(config, logits, classes=1)
    return alone if any(np.any(values) for values in alone.values()) else _gradients(config, logits, classes=2)


def _gradients(config: LossConfig, logits: np.ndarray, classes: int) -> dict[str, list[float]]:
    loss, multi_label = _loss(config, classes)
    found = {}
    for name, label in (("positive", 1), ("negative", 0)):
        if multi_label:
            labels = torch.tensor([[label, 1 - label][:classes]], dtype=torch.int8)
        else:
            labels = torch.tensor([1 - label if classes > 1 else 0])
        found[name] = [_gradient(loss, float(x), labels, classes) for x in logits]
    return found


def _gradient(loss: Loss, x: float, labels: torch.Tensor, classes: int) -> float:
    logits = torch.zeros((1, classes), dtype=torch.float64)
    logits[0, 0] = x
    logits.requires_grad_()
    loss(logits, labels, _BEGINNING).backward()
    return float(logits.grad[0, 0])


def _loss(config: LossConfig, classes: int) -> tuple[Loss, bool]:
    """The loss and whether it takes several labels an image, as it does if it can.

    For one that needs attributes, the classes are the values of one.
    """
    names = [f"class {number}" for number in range(classes)]
    attribute = {"attribute": list(range(classes))}
    several, one = (
        TrainingSet("even", "", names, [_COUNT] * classes, {}, multi_label, classes * _COUNT, attribute)
        for multi_label in (True, False)
    )
    try:
        return losses.build(config, several), True
    except UserError:
        return losses.build(config, one), False
