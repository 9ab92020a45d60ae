"""Processor time of this process and all that it started: what work costs, however busy the machine is with others."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
PARENT, USER, SYSTEM = 1, 11, 12  # places in /proc/*/stat, behind the name: parent, and ticks in user and kernel mode


def cpu_seconds() -> float | None:
    """Of all threads of this process and of its children that live now. None but on Linux."""
    if not (PROC / "self" / "stat").exists():
        return None
    fields = {pid: row for pid, row in ((path.name, _fields(path)) for path in PROC.glob("[0-9]*")) if row}
    own, grew = {str(os.getpid())}, True
    while grew:
        children = {pid for pid, row in fields.items() if row[PARENT] in own}
        grew = not children <= own
        own |= children
    ticks = sum(int(fields[pid][USER]) + int(fields[pid][SYSTEM]) for pid in own if pid in fields)
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(process: Path) -> list[str] | None:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile
        return None
