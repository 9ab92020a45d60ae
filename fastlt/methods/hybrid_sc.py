"""Hybrid-SC: features by supervised contrast, each image against all others of the step."""

from __future__ import annotations

from torch import Tensor

from fastlt import ops
from fastlt.distributed import gather_rows
from fastlt.methods._hybrid import Hybrid, HybridOptions


class Options(HybridOptions):
    name: str = "hybrid_sc"


class HybridSC(Hybrid):
    """Two views of every image; the mean over those rows of all ranks whose class another row has (eq. 4).

    The paper writes a sum over them; its learning rate fits the mean (inferred). With `train.accumulate` the rows are
    those of one part of the batch.
    """

    views = 2

    def contrast(self, projected: Tensor, labels: Tensor) -> Tensor:
        return ops.supervised_contrastive(gather_rows(projected), gather_rows(labels), temperature=self.temperature)
