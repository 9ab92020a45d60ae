"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from fastlt.train.run_folder import environment


def describe_machine() -> dict:
    return environment() | {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
