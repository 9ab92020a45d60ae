"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from fastlt.train.run_folder import environment


def describe_machine() -> dict:
    return environment() | {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text().splitlines() if known.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
