"""What is timed, side by side with its plain counterpart in one run. Installed as `fastlt.bench`."""

from __future__ import annotations

import importlib
from pathlib import Path

from rich.console import Console
from rich.table import Table

SUBJECTS = ("reader", "loader", "index", "losses", "build")


def run(subject: str, data: Path | None, console: Console) -> dict:
    """Times one of SUBJECTS and prints its cases; returns {"machine", "cases": [{"name", ...figures}], ...summary}."""
    from fastlt.bench.machine import describe_machine

    module = importlib.import_module(f"fastlt.bench.{subject}")
    cases = module.cases(data)
    summary = module.summary(cases) if hasattr(module, "summary") else {}
    found = {"subject": subject, "machine": describe_machine(), "cases": cases, **summary}
    console.print(_table(subject, cases))
    return found


def _table(subject: str, cases: list[dict]) -> Table:
    """A column for every figure of any case; lists of samples are for the JSON alone."""
    columns = list(dict.fromkeys(name for case in cases for name, value in case.items() if not isinstance(value, dict)))
    table = Table(title=f"{subject}: medians", title_justify="left", box=None, pad_edge=False)
    for name in columns:
        words = any(isinstance(case.get(name), str) for case in cases)
        table.add_column(name.replace("_", " "), justify="left" if words else "right")
    for case in cases:
        table.add_row(*(_cell(case.get(name)) for name in columns))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
