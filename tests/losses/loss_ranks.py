"""One rank of test_ranks.py: `loss_ranks.py RANK RANKS FOLDER` computes every case on its part of the batch."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.losses.inputs import tail
from tests.losses.made import made_loss


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    found = {}
    for name, (loss, options, logits, labels) in torch.load(folder / "cases.pt").items():
        own = logits[rank].requires_grad_()
        value = made_loss(loss, tail(own.shape[1]), labels[rank].ndim == 2, **options)(own, labels[rank])
        value.backward()
        found[name] = {"loss": value.detach(), "grad": own.grad}
    torch.save(found, folder / f"found{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
