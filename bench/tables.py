"""The figures as a table in the terminal, as one page of Markdown, and as one plot."""

from __future__ import annotations

from pathlib import Path

from fastlt.bench import by_subject
from rich.table import Table

from fastlt.files import write_text
from fastlt.report import plots

WORDS = ("name", "op", "setting", "shape", "dtype", "checks", "images", "form")  # that tell one case from another
RATE, TIME = "_per_second_", "_ms_"  # in the names of figures
INK, LIMIT_INK = "#2b5c8a", "#b3423a"


def table(subject: str, cases: list[dict]) -> Table:
    """A column for every figure of any case; lists of samples are for the JSON alone."""
    columns = _columns(cases)
    shown = Table(title=f"{subject}: medians", title_justify="left", box=None, pad_edge=False)
    for name in columns:
        words = any(isinstance(case.get(name), str) for case in cases)
        shown.add_column(name.replace("_", " "), justify="left" if words else "right")
    for case in cases:
        shown.add_row(*(_cell(case.get(name)) for name in columns))
    return shown


def write_report(found: dict, folder: Path) -> None:
    """bench.md and bench.png of what `fastlt.bench.run` gave."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "bench.md", markdown(found))
    plots.save(plot(found), folder / "bench.png")


def markdown(found: dict) -> str:
    """One table of every subject's cases: what it is, its rate or time with the range, and all else in words."""
    lines = [
        *_heading(found["machine"]),
        "",
        "| subject | case | median | range | beside it |",
        "|---|---|---|---|---|",
    ]
    for subject, one in by_subject(found).items():
        for case in one["cases"]:
            lines.append(f"| {subject} | {label(case)} | {_median(case)} | {_range(case)} | {_beside(case)} |")
    return "\n".join(lines) + "\n"


def plot(found: dict):
    """A figure with a panel for each subject: a bar for each case, a mark where the machine's limit is."""
    from matplotlib.figure import Figure

    parts = {name: [c for c in one["cases"] if figure_of(c)] for name, one in by_subject(found).items()}
    parts = {name: cases for name, cases in parts.items() if cases}
    rows = [len(cases) + 3 for cases in parts.values()]
    drawn = Figure(figsize=(10, 1 + 0.24 * sum(rows)), layout="constrained")
    panels = drawn.subplots(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (subject, cases) in zip(panels, parts.items(), strict=True):
        places = range(len(cases))
        axes.barh(places, [figure_of(case)[1] for case in cases], color=INK)
        limits = [(case["limit"], place) for place, case in enumerate(cases) if case.get("limit")]
        if limits:
            axes.plot(*zip(*limits, strict=True), "|", color=LIMIT_INK, markersize=9, markeredgewidth=2, label="limit")
            axes.legend(frameon=False)
        axes.set_yticks(places, [label(case) for case in cases], fontsize=7)
        axes.invert_yaxis()
        axes.set(title=subject, xscale="log", xlabel=figure_of(cases[0])[0].replace("_", " "))
    return drawn


def label(case: dict) -> str:
    """What tells a case from the others of its subject."""
    return " ".join(_plain(case[name]) for name in WORDS if case.get(name) not in (None, ""))


def figure_of(case: dict) -> tuple[str, float] | None:
    """Name and value of a case's chief figure: its first rate, else its first time; None where it was not measured."""
    for part in (RATE, TIME):
        for name, value in case.items():
            if part in f"_{name}_" and isinstance(value, int | float):
                return name, float(value)
    return None


def _columns(cases: list[dict]) -> list[str]:
    return list(dict.fromkeys(name for case in cases for name, value in case.items() if not isinstance(value, dict)))


def _heading(machine: dict) -> list[str]:
    device = ", ".join(machine["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    missing = [name for name, version in machine.get("peers", {}).items() if not version]
    load = machine.get("load")
    return [
        f"{machine['processor']}, {machine['usable_cores']} cores, {device}; {versions}; "
        f"commit {machine.get('commit') or 'unknown'}"
        + (f"; load before: {load[0]:.1f}" if load else "")
        + (f"; absent: {', '.join(missing)}" if missing else "")
    ]


def _median(case: dict) -> str:
    found = figure_of(case)
    return f"{_cell(found[1])} {found[0].replace('_', ' ')}" if found else str(case.get("absent", "-"))


def _range(case: dict) -> str:
    own = next(iter({**case.get("samples", {}), **case.get("samples_ms", {})}.values()), None)
    return f"{_cell(float(min(own)))} to {_cell(float(max(own)))}" if own else "-"


def _beside(case: dict) -> str:
    chief = figure_of(case)
    hidden = {*WORDS, chief[0] if chief else "", "lowest", "highest", "absent"}
    shown = {name: value for name, value in case.items() if name not in hidden and not isinstance(value, dict)}
    return ", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in shown.items() if value is not None)


def _plain(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return _plain(value)
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
