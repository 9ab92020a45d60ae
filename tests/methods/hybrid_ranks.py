"""One rank of test_hybrid_ranks.py: `hybrid_ranks.py RANK RANKS FOLDER` computes both methods on its part."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fastlt.batch import Batch
from fastlt.distributed import gather_rows
from tests.methods.hybrid_made import HALFWAY, batch_of, made


def part_of(batch, rank, ranks):
    """This rank's contiguous part of each stream."""

    def cut(value):
        return value.chunk(ranks, dim=1 if value.ndim == 5 else 0)[rank]

    fields = (batch.images, batch.labels)
    return Batch(*({name: cut(value) for name, value in field.items()} for field in fields), {}, {})


def step(name, rank, ranks):
    method = DistributedDataParallel(made(name), broadcast_buffers=False)
    terms = method(part_of(batch_of(name), rank, ranks), HALFWAY)
    sum(terms.values()).backward()
    return {
        "terms": {term: value.detach() for term, value in terms.items()},
        "gradients": {key: parameter.grad for key, parameter in method.module.named_parameters()},
    }


def gathered(rank):
    """Every rank asks another multiple of every row; the rows are no contiguous tensor."""
    rows = (torch.arange(6.0).reshape(2, 3) + 10 * rank).T.requires_grad_()
    out = gather_rows(rows)
    ((rank + 1) * out * torch.arange(6.0)[:, None]).sum().backward()
    return {"out": out.detach(), "grad": rows.grad, "labels": gather_rows(torch.tensor([rank, 7]))}


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    found = {name: step(name, rank, ranks) for name in ("hybrid_sc", "hybrid_psc")}
    torch.save(found | {"gather_rows": gathered(rank)}, folder / f"found{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
