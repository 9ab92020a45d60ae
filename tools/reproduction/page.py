"""docs/reproduction.md: each part's table, what was expected of it and what came out, and a plot."""

from __future__ import annotations

import json
from pathlib import Path

from fastlt import sweep
from fastlt.files import write_text
from fastlt.report.sweep_table import markdown, summarise
from reproduction import keep, plot
from reproduction.compare import Difference, paired
from reproduction.parts import DATA, Part

INTRODUCTION = """# Reproduction at the scale of a CPU

Does each method do what its paper says, on real data? Small networks and few epochs, the same data, budget and
evaluation for every row of a table, nothing tuned and one trial for each row; the last epoch is measured, or the one
that validation chose where there is a validation split, and never the test split. Heights are not to be compared with
the published ones, which are of larger networks trained for longer; signs are.

    python tools/reproduce.py --data FOLDER --jobs 2

writes this page, two parts side by side on a core each; `--preset reasons` runs what stands at its end: experiments on
what did not come out as published. The settings of a row are its recipe and what its sweep under
`configs/reproduction/` changes in it; reproduction/PART/ROW-seed-N.json keeps the summary of every run, with its
versions. ± is the deviation over seeds; a difference is the mean of paired differences between runs of the same seed,
± its standard error.

What the papers have above zero:

![differences that the papers report](reproduction/differences.png)
"""


def write(parts: tuple[Part, ...], reasons: tuple[Part, ...], docs: Path) -> bool:
    """From what is kept beside the page; parts of which nothing is kept are named. False, and no page, if none is.

    `reasons` stand behind the `parts` that they explain, and not in the plot of what the papers report.
    """
    sections, missing, differences = [], [], []
    for part in (*parts, *reasons):
        folder = docs / "reproduction" / part.name
        if not (folder / "table.json").exists():
            missing.append(part.title)
            continue
        table = _read(folder / "table.json")
        plot.save(part, table, folder / "plot.png")
        sections.append(_section(part, table, folder))
        if part in parts:
            verdicts = _verdicts(part, table)
            differences += [(f"{part.name}: {label} above {other}", found) for label, other, found in verdicts]
    if not sections:
        return False
    if missing:
        sections.append(f"Not run yet: {'; '.join(missing)}.\n")
    plot.save_differences(differences, docs / "reproduction" / "differences.png")
    write_text(docs / "reproduction.md", "\n".join(filter(None, [INTRODUCTION, _budget(parts, docs), *sections])))
    return True


def _budget(parts: tuple[Part, ...], docs: Path) -> str:
    """What all parts but the reasons took, as far as they are kept."""
    folders = [docs / "reproduction" / part.name for part in parts]
    kept = [folder for folder in folders if (folder / "table.json").exists()]
    minutes = {
        folder / name: value for folder in kept for name, value in _minutes(_read(folder / "table.json")).items()
    }
    if not minutes:
        return ""
    alone = all(_read(summary).get("environment", {}).get("threads") == 1 for summary in minutes)
    words = ", of one core each" if alone else ""
    return f"Without the reasons: {len(minutes)} runs, {sum(minutes.values()):.0f} minutes of training{words}.\n"


def _section(part: Part, table: dict, folder: Path) -> str:
    lines = [f"## {part.title}", "", _setting(part, table), ""]
    lines += [part.note, ""] if part.note else []
    lines += [markdown(_with_published(part, table)).rstrip(), ""]
    lines += [f"![{part.title}](reproduction/{part.name}/plot.png)", ""]
    lines += _expected(part, table)
    lines += _virtual_examples(part, folder)
    lines += [part.finding, ""] if part.finding else []
    lines += _failed(table)
    return "\n".join(lines)


def _setting(part: Part, table: dict) -> str:
    spec, data = sweep.load(part.sweep), DATA[part.data]
    changed = ", ".join(f"`{key}={value}`" for key, value in spec.set.items())
    minutes = _minutes(table)
    return (
        f"`fastlt build {data.source} {data.options}`, then `fastlt sweep {part.sweep}`. Rows whose names do not say "
        f"otherwise: {changed}. {len(minutes)} runs, {sum(minutes.values()):.0f} minutes of training."
    )


def _minutes(table: dict) -> dict[str, float]:
    """Of each run, of which some are measured twice."""
    return {run["summary"]: run["minutes"] for row in table["rows"] for run in row["runs"]}


def _with_published(part: Part, table: dict) -> dict:
    """Means and deviations of the rows, and the figures that are published for them."""
    spec = sweep.load(part.sweep)
    figures = sweep.published(spec.model_copy(update={"published": part.published or spec.published}))
    return summarise(table["sweep"], table["rows"], figures, ())


def _expected(part: Part, table: dict) -> list[str]:
    rows = {row["label"]: row for row in table["rows"] if row["runs"]}
    base = rows.get(part.baseline)
    lines = []
    if base:
        lines += [f"| against {part.baseline} | {part.metric} | pairs |", "|---|---:|---:|"]
        for label, row in rows.items():
            if label != part.baseline and (found := paired(row, base, part.metric)):
                lines.append(f"| {label} | {_points(found)} | {found.pairs} |")
        lines.append("")
    for label, other, found in _verdicts(part, table):
        lines.append(f"- {label} above {other} in {part.metric}: **{found.verdict}**, {_points(found)}.")
    return [*lines, ""]


def _verdicts(part: Part, table: dict) -> list[tuple[str, str, Difference]]:
    """The row that the papers have above another, that other, and by how much it is."""
    rows = {row["label"]: row for row in table["rows"] if row["runs"]}
    pairs = [(label, other) for label, other in part.above if label in rows and other in rows]
    compared = [(label, other, paired(rows[label], rows[other], part.metric)) for label, other in pairs]
    return [one for one in compared if one[2]]


def _points(found: Difference) -> str:
    """Percent points."""
    error = "" if found.error is None else f" ± {100 * found.error:.2f}"
    return f"{100 * found.mean:+.2f}{error}"


def _virtual_examples(part: Part, folder: Path) -> list[str]:
    files = {
        row.label: folder / f"{row.folder}{keep.VIRTUAL_EXAMPLES}"
        for row in sweep.variants(sweep.load(part.sweep))
        if row.label in part.virtual_examples
    }
    found = {label: _read(file) for label, file in files.items() if file.exists()}
    if not found:
        return []
    groups = list(next(iter(found.values()))["group_means"][0])
    lines = [
        f"| {label} | {temperature:g} | {' | '.join(f'{means[name]:.1f}' for name in groups)} |"
        for label, one in found.items()
        for temperature, means in zip(one["temperatures"], one["group_means"], strict=True)
    ]
    head = [f"| virtual examples of | temperature | {' | '.join(groups)} |", f"|---|---:|{'---:|' * len(groups)}"]
    return ["Virtual examples of training images as they are, the mean of each group's classes:", "", *head, *lines, ""]


def _failed(table: dict) -> list[str]:
    return [f"- {run} failed: {reason}" for run, reason in table.get("failed", {}).items()]


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
