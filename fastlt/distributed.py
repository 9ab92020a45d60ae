"""Several processes under torchrun: who this one is, and what they exchange beside gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fastlt.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among all: `rank` of `count`, on `device`."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextmanager
def join(device: str | None = None) -> Iterator[Ranks]:
    """Joins the processes that torchrun started (gloo on the CPU, nccl on GPUs); alone without torchrun.

    The group is left again at the end, also after an error.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    place = device_of(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if count == 1:
        yield Ranks(0, 1, place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count, place)
    finally:
        dist.destroy_process_group()


def device_of(kind: str | None) -> torch.device:
    """The CPU, or this process's own GPU; by default that if there is one. Raises UserError if there is none."""
    kind = kind or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise UserError(
            f"process {local} of this machine finds {torch.cuda.device_count()} GPUs; start as many processes as there "
            "are GPUs, or use --device cpu (`fastlt doctor` says what torch sees)"
        )
    return torch.device(kind, local)


def broadcast_buffers(module: nn.Module) -> None:
    """Gives every rank rank 0's buffers, such as the running statistics of batch norm."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def mean(values: Tensor) -> Tensor:
    """The average over ranks of a tensor that each of them has."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def add_up(*tensors: Tensor) -> None:
    """Makes each the sum over ranks, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """`total / count` over all ranks, scaled so that DistributedDataParallel's average over ranks gives the mean.

    `total` (a sum, with gradients) and `count` are this rank's own. Zero where nothing counts.
    """
    count = count.detach().to(total.dtype)
    if dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        total = total * dist.get_world_size()
    return total / torch.where(count > 0, count, 1)


def global_sum(total: Tensor) -> Tensor:
    """This rank's part of a sum over all ranks, scaled so that DistributedDataParallel's average gives the sum."""
    return total * dist.get_world_size() if dist.is_initialized() else total


def gather_rows(rows: Tensor) -> Tensor:
    """[B, ...] of every rank, one after the other in the order of ranks: [ranks B, ...]; B is the same on each.

    With gradients: a row's is the sum of what all ranks' losses say of it. So where every rank computes the same loss
    of the gathered rows, DistributedDataParallel's average over ranks is the gradient of that loss.
    """
    return _GatherRows.apply(rows) if dist.is_initialized() else rows


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)  # gloo and nccl both have it
        return grad[ctx.count * dist.get_rank() :][: ctx.count]


def rank_count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def own_rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def gather(values: object) -> list:
    """Every rank's picklable `values`, on every rank, in the order of ranks."""
    if not dist.is_initialized():
        return [values]
    out: list = [None] * dist.get_world_size()
    dist.all_gather_object(out, values)
    return out


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any rank; every rank must ask at the same step."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value)
    return bool(value.item())
