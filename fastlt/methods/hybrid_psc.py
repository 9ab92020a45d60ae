"""Hybrid-PSC: features by contrast with one learned prototype a class, in memory that is linear in the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlt import ops
from fastlt.methods._hybrid import Hybrid, HybridOptions
from fastlt.progress import TrainingSet


class Options(HybridOptions):
    name: str = "hybrid_psc"


class HybridPSC(Hybrid):
    """The mean over all ranks' images of -s_y + LSE of s_j over the other classes (eq. 6).

    Prototypes [C, projection] learn with the network. Inferred: they start at random directions, and have no weight
    decay, since they are of length 1 where they are used and only their direction counts.
    """

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__(options, model, data)
        directions = nn.functional.normalize(torch.randn(len(data.classes), options.projection))
        self.prototypes = nn.Parameter(directions)

    def contrast(self, projected: Tensor, labels: Tensor) -> Tensor:
        """Every rank has as many images, so that the means of their own come to the mean of all."""
        return ops.prototype_contrastive(projected, self.prototypes, labels, temperature=self.temperature)

    def param_groups(self) -> list[dict]:
        everything = [p for p in self.parameters() if p.requires_grad]
        network = {"name": "network", "params": [p for p in everything if p is not self.prototypes]}
        return [network, {"name": "prototypes", "params": [self.prototypes], "weight_decay": 0.0}]
