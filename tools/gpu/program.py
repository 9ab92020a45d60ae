"""What compute-sanitizer watches: every loss once, forward and backward, with labels out of range too."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from fastlt import ops

from .cases import loss_cases
from .part import Part

SHAPES = ((1, 1), (5, 37), (6, 64))  # of one element a thread, and of 16 bytes
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def run(part: Part) -> None:
    for case in loss_cases(part):
        for rows, columns in SHAPES[1:2] if part.quick else SHAPES:
            if (rows, columns) == (1, 1) and case.op == "prototype_contrastive":
                continue  # needs two classes
            for dtype in DTYPES[1:2] if part.quick else DTYPES:
                inputs = case.inputs(rows, columns, dtype).change(lambda x: x.to(part.device))
                for reduction in ("mean", "row"):
                    case.value_and_gradients(ops, inputs, reduction=reduction)
    if part.on_gpu:
        _labels_out_of_range(part)
        torch.cuda.synchronize()


def _labels_out_of_range(part: Part) -> None:
    """The loss of such a row is NaN on CUDA, and no memory is touched."""
    logits, prior = torch.randn(4, 12, device=part.device), torch.zeros(12, device=part.device)
    labels = torch.tensor([-1, 12, 1 << 40, 3], device=part.device)
    features, prototypes = torch.randn(4, 8, device=part.device), torch.randn(12, 8, device=part.device)
    for rows in (
        ops.balanced_softmax(logits, labels, prior, reduction="row"),
        ops.dive(logits, logits, labels, prior, temperature=2.0, reduction="row"),
        ops.prototype_contrastive(features, prototypes, labels, temperature=0.1, reduction="row"),
    ):
        if rows.isnan().tolist() != [True, True, True, False]:
            raise AssertionError(f"labels out of range give {rows.tolist()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    run(Part(options.device, options.quick, Path(".")))
