"""One rank of test_batch_norm.py: `batch_norm_ranks.py RANK RANKS FOLDER` runs every case on its part of the batch."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from fastlt.models.batch_norm import convert


def run(model: torch.nn.Module, x: torch.Tensor, direction: torch.Tensor) -> dict:
    """The gradient is that of the sum, over every rank, of output x direction."""
    x = x.requires_grad_()
    out = model(x)
    (out * direction).sum().backward()
    return {
        "out": out.detach(),
        "grad": x.grad,
        "parameter_grads": {name: parameter.grad for name, parameter in model.named_parameters()},
        "buffers": dict(model.named_buffers()),
    }


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    cases = torch.load(folder / "cases.pt", weights_only=False)
    found = {}
    for name, (model, parts, directions) in cases.items():
        found[name] = run(convert(model).train(), parts[rank], directions[rank])
    torch.save(found, folder / f"found{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
