"""What the machine itself allows: the rates that stand beside ours."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

BLOCK = 8 << 20  # bytes written or copied at a time
SIDE = 2048  # of the square matrices
TIMES = 5


def matmul_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product, the fastest of some."""
    one, other = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / min(_seconds(lambda: one @ other, device) for _ in range(TIMES + 1))


def memory_bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy of 256 MiB reads and writes together."""
    source = torch.zeros(256 << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source).fill_(1)
    seconds = statistics.median(_seconds(lambda: target.copy_(source), device) for _ in range(TIMES))
    return 2 * source.numel() / seconds


def write_to_disk(size: int, out: Path) -> None:
    """Writes so many bytes from memory and waits until they are on disk."""
    block = memoryview(bytes(BLOCK))
    with out.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(block[: min(BLOCK, size - start)])
        file.flush()
        os.fsync(file.fileno())


def copy_in_memory(size: int) -> None:
    """Copies so many bytes, in blocks that no cache holds."""
    source = torch.zeros(32 * BLOCK, dtype=torch.uint8)
    target = torch.empty_like(source)
    for start in range(0, size, source.numel()):
        part = min(source.numel(), size - start)
        target[:part].copy_(source[:part])


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
