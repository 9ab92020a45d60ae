"""How much more memory may be taken: a process that takes too much may be killed without a word."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_ROOM = Path("/proc/meminfo")


def free_memory(device: torch.device) -> int | None:
    """Bytes of a GPU, or this process's share of its machine's; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if not _ROOM.exists():
        return None
    line = next(line for line in _ROOM.read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
