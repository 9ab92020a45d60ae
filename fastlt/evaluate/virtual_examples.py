"""Virtual examples: He, Wu, Wei, "Distilling Virtual Examples for Long-tailed Recognition", ICCV 2021, section 3.

A teacher's probabilities of an image are read as parts of examples of every class. Their sums over the training images
say what a student will see: too many of the head at a low temperature, a flat distribution at a high one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from fastlt import distributed
from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.evaluate.scoring import show_all
from fastlt.loader import Records
from fastlt.methods.base import Method
from fastlt.progress import TrainingSet


@dataclass(frozen=True)
class VirtualExamples:
    """`examples[i][c]`: virtual examples of class c at `temperatures[i]`; each row sums to `images`.

    `groups`: which classes are in each group that has any, the most frequent group first.
    """

    classes: list[str]
    counts: list[int]
    images: int
    groups: dict[str, list[int]]
    temperatures: list[float]
    examples: list[list[float]]

    @property
    def group_means(self) -> list[dict[str, float]]:
        """The mean over the classes of each group, one dict a temperature."""
        return [self.means(row) for row in self.examples]

    @property
    def proper_temperature(self) -> float | None:
        """The lowest temperature at which the rarest group has no fewer virtual examples a class than the most
        frequent one (the paper's reading of its figure 5); None if there is none among these, or only one group.
        """
        if len(self.groups) < 2:
            return None
        most, rarest = list(self.groups)[0], list(self.groups)[-1]
        found = zip(self.temperatures, self.group_means, strict=True)
        return min((temperature for temperature, means in found if means[rarest] >= means[most]), default=None)

    def means(self, values: Sequence[float]) -> dict[str, float]:
        """The mean over the classes of each group, of values [C]."""
        return {name: float(np.mean([values[c] for c in inside])) for name, inside in self.groups.items()}

    def as_dict(self) -> dict:
        return asdict(self) | {"group_means": self.group_means, "proper_temperature": self.proper_temperature}


def virtual_examples(
    method: Method,
    records: Records,
    config: RunConfig,
    ranks: distributed.Ranks,
    data: TrainingSet,
    temperatures: Sequence[float],
    tick=None,
) -> VirtualExamples:
    """sum over training images of softmax(x / temperature), x being what `method` predicts, in float64.

    The images are shown as for evaluation: augmented ones would make the teacher less sure than it is. Raises UserError
    for images of several labels, and if none decodes.
    """
    if data.multi_label:
        raise UserError("virtual examples are of data with one label an image, but this run's images have several")
    total, images = torch.zeros(len(temperatures), len(data.classes), dtype=torch.float64, device=ranks.device), 0

    def take(shown: Tensor, position: np.ndarray, readable: np.ndarray) -> None:
        nonlocal images
        scores = method.predict(shown).double()
        counts = torch.from_numpy(readable).to(scores.device, non_blocking=True)
        for row, temperature in zip(total, temperatures, strict=True):
            row += torch.where(counts[:, None], (scores / temperature).softmax(1), 0).sum(0)
        images += int(readable.sum())

    show_all(method, records, config, ranks, take, tick)
    parts = distributed.gather((total.cpu().numpy(), images))
    seen = sum(count for _, count in parts)
    if not seen:
        raise UserError("no training picture decodes, so that there are no virtual examples; fastlt verify says why")
    examples = sum(part for part, _ in parts).tolist()
    return VirtualExamples(data.classes, data.counts, seen, _groups(data), list(temperatures), examples)


def _groups(data: TrainingSet) -> dict[str, list[int]]:
    found = {}
    for name, (low, high) in sorted(data.groups.items(), key=lambda item: -item[1][0]):
        inside = [c for c, count in enumerate(data.counts) if low <= count and (high is None or count <= high)]
        if inside:
            found[name] = inside
    return found
