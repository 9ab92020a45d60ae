"""Two runs of a bench side by side: what got slower, or faster, by more than either run varied in itself."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from fastlt.bench import by_subject
from fastlt.bench.tables import label
from rich.console import Console
from rich.table import Table

from fastlt.errors import UserError

OURS = ("ours", "fastlt", "header", "decode")  # what contestants of ours are called; others tell of the machine
TRIMMED = 7  # samples from which on the lowest and the highest are left out


@dataclass(frozen=True)
class Change:
    """One figure of both runs: `ratio` is the new speed over the old, and `verdict` slower, faster or ""."""

    figure: str
    ours: bool
    ratio: float
    verdict: str


def show(old: Path, new: Path, console: Console) -> None:
    """Prints every change. Raises UserError where something of ours got slower, or nothing can be compared."""
    before, after = _read(old), _read(new)
    if before["machine"]["processor"] != after["machine"]["processor"]:
        console.print("note: the two runs are from different processors")
    found = changes(before, after)
    if not found:
        raise UserError(
            f"{old} and {new} have no figure in common; compare two runs of the same `fastlt bench` subject"
        )
    console.print(_table(found))
    others = [change.ratio for change in found if not change.ours]
    if others:
        console.print(f"what is not ours ran at {statistics.median(others):.2f} of its old speed: the machine itself")
    slower = [change.figure for change in found if change.ours and change.verdict == "slower"]
    if slower:
        raise UserError(f"{len(slower)} of {len(found)} figures got slower beyond the noise: {'; '.join(slower)}")


def changes(before: dict, after: dict) -> list[Change]:
    """Every figure that both runs have, in the order of the first."""
    old, new = _speeds(before), _speeds(after)
    return [
        Change(
            " ".join(name),
            name[-1] in OURS or name[-1] == name[-2],
            statistics.median(new[name]) / statistics.median(old[name]),
            verdict(old[name], new[name]),
        )
        for name in old
        if name in new
    ]


def verdict(old: list[float], new: list[float]) -> str:
    """Slower where every sample of the new run is below every sample of the old, outliers aside; faster likewise.

    Of two runs of equal speed the rule calls one in 250 figures slower with 5 samples each, one in 70 with 7.
    """
    old, new = _without_outliers(old), _without_outliers(new)
    if max(new) < min(old):
        return "slower"
    return "faster" if min(new) > max(old) else ""


def _without_outliers(samples: list[float]) -> list[float]:
    return sorted(samples)[1:-1] if len(samples) >= TRIMMED else samples


def _speeds(found: dict) -> dict[tuple[str, ...], list[float]]:
    """(subject, case, contestant) -> samples, the larger the faster."""
    speeds = {}
    for subject, one in by_subject(found).items():
        for case in one["cases"]:
            for name, samples in case.get("samples", {}).items():
                speeds[subject, label(case), name] = samples
            for name, samples in case.get("samples_ms", {}).items():
                speeds[subject, label(case), name] = [1 / max(value, 1e-9) for value in samples]
    return speeds


def _table(found: list[Change]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("figure", "new over old", ""):
        table.add_column(name, justify="right" if name == "new over old" else "left")
    for change in found:
        table.add_row(change.figure, f"{change.ratio:.3f}", change.verdict)
    return table


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not (
            all("cases" in one for one in by_subject(found).values()) and found["machine"]["processor"] is not None
        ):
            raise ValueError("no cases")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not what `fastlt bench --json` writes") from error
    return found
