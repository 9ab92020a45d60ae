"""What is timed, side by side with its plain counterpart in one run. Installed as `fastlt.bench`.

A subject is a module with `cases(data) -> list[dict]` and perhaps `summary(cases) -> dict`. A case is what its row of
the table shows: words, figures, and in `samples` (units per second) or `samples_ms` every single measurement.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from rich.console import Console

# The last two change how the process keeps memory (runs.as_a_run_has_it), which the others shall not meet.
SUBJECTS = ("loader", "losses", "build", "reader", "feeding", "index", "wgan", "step", "train")
ALL = "all"


def run(subject: str, data: Path | None, console: Console) -> dict:
    """Times one of SUBJECTS, or all, and prints its cases.

    Gives {"subject", "machine", "cases": [{"name", ...figures}], ...summary}; of all, {"subject", "machine",
    "subjects": {name: the same without machine}}.
    """
    from fastlt.bench.machine import describe_machine

    machine = describe_machine()
    if subject != ALL:
        return {"subject": subject, "machine": machine, **_one(subject, data, console)}
    return {"subject": ALL, "machine": machine, "subjects": {name: _one(name, data, console) for name in SUBJECTS}}


def by_subject(found: dict) -> dict[str, dict]:
    """The cases of what `run` gave, or of its JSON, for each subject."""
    return found["subjects"] if found["subject"] == ALL else {found["subject"]: found}


def _one(subject: str, data: Path | None, console: Console) -> dict:
    from fastlt.bench.tables import table

    module = importlib.import_module(f"fastlt.bench.{subject}")
    cases = module.cases(data)
    summary = module.summary(cases) if hasattr(module, "summary") else {}
    console.print(table(subject, cases))
    return {"cases": cases, **summary}
