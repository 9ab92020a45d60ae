"""Losses as fused operators: value and gradients in one pass over the logits, on the CPU and on CUDA.

They are compiled from csrc. Where that was not possible, the same formulas in plain PyTorch serve, slower: `reference`.
"""

from fastlt.ops.contrastive import prototype_contrastive, supervised_contrastive
from fastlt.ops.ranking import lsep
from fastlt.ops.sigmoid import sigmoid_loss
from fastlt.ops.softmax import balanced_softmax, dive

__all__ = [
    "balanced_softmax",
    "dive",
    "lsep",
    "prototype_contrastive",
    "sigmoid_loss",
    "supervised_contrastive",
]
