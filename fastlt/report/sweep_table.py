"""What a sweep comes to: means and standard deviations over seeds, as a table, and the curves of its runs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

from rich.markup import escape
from rich.table import Table

from fastlt.report.plots import save, shortened

STYLES = ("-", "--", ":")
COUNTS = ("N+",)  # metrics that are no fractions
SHOWN_WIDTH = 46  # characters of a row's label


def summarise(name: str, rows: list[dict], published: dict[str, dict], published_only: tuple[str, ...]) -> dict:
    """{"sweep", "metrics", "rows"}: to each row "mean" and "std" of every metric, "parts" and "published".

    Values are fractions, published ones percent; the deviation is that of a sample, and absent for a single run.
    """
    full = [
        row
        | _statistics([run["metrics"] for run in row["runs"]])
        | {"parts": _parts(row["runs"]), "published": published.get(row["label"])}
        for row in rows
    ]
    full += [
        {"label": label, "runs": [], "mean": {}, "std": {}, "parts": {}, "published": published[label]}
        for label in published_only
    ]
    metrics = list(dict.fromkeys(metric for row in full for metric in row["mean"]))
    metrics = metrics or list(dict.fromkeys(metric for row in full for metric in row["published"] or {}))
    return {"sweep": name, "metrics": metrics, "rows": full}


def _parts(runs: list[dict]) -> dict[str, dict]:
    names = dict.fromkeys(name for run in runs for name in run["parts"])
    return {name: _statistics([run["parts"][name] for run in runs if name in run["parts"]]) for name in names}


def _statistics(found: list[dict]) -> dict[str, dict]:
    names = dict.fromkeys(name for metrics in found for name in metrics)
    values = {name: [metrics[name] for metrics in found if name in metrics] for name in names}
    return {
        "mean": {name: mean(each) for name, each in values.items()},
        "std": {name: stdev(each) for name, each in values.items() if len(each) > 1},
    }


def markdown(table: dict) -> str:
    head, lines = _cells(table)
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in (head, rule, *lines)
    )


def rich_table(table: dict) -> Table:
    head, lines = _cells(table)
    shown = Table(title=escape(f"{table['sweep']}, percent"), title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(head):
        shown.add_column(escape(name), justify="right" if place else "left")
    for line in lines:
        shown.add_row(*map(escape, line))
    return shown


def _cells(table: dict) -> tuple[list[str], list[list[str]]]:
    """The head, and for each row, and each part of it alone, a line; with published results where there are some."""
    metrics = table["metrics"]
    with_published = any(row["published"] for row in table["rows"])
    head = ["", *metrics, *(["published " + "/".join(metrics)] if with_published else [])]
    lines = []
    for row in table["rows"]:
        lines.append([row["label"], *_values(row, metrics), *([_published(row, metrics)] if with_published else [])])
        for name, part in row["parts"].items():
            lines.append([f"    {name} alone", *_values(part, metrics), *([""] if with_published else [])])
    return head, lines


def _values(row: dict, metrics: list[str]) -> list[str]:
    return [
        "" if name not in row["mean"] else _number(name, row["mean"][name]) + _deviation(name, row["std"].get(name))
        for name in metrics
    ]


def _deviation(name: str, value: float | None) -> str:
    return "" if value is None else f" ± {_number(name, value)}"


def _number(name: str, value: float) -> str:
    """Fractions in percent, counts as they are."""
    return f"{value:.1f}" if name in COUNTS else f"{100 * value:.2f}"


def _published(row: dict, metrics: list[str]) -> str:
    figures = row["published"]
    if not figures:
        return ""
    own = {name: value if name in COUNTS else value / 100 for name, value in figures.items()}
    return "/".join(_number(name, own[name]) if name in own else "-" for name in metrics)


def save_curves(rows: list[dict], path: Path) -> None:
    """The sum of the loss terms and, where there is a validation split, its metric, by epoch, of every trained run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    shown: set[str] = set()
    for number, row in enumerate(rows):
        for run in row["runs"]:
            if run["folder"] in shown:
                continue
            label = None if any(other["folder"] in shown for other in row["runs"]) else row["label"]
            style = {
                "color": f"C{number % 10}",
                "linestyle": STYLES[number // 10 % len(STYLES)],
                "linewidth": 1,
                "marker": ".",
            }
            for axes, points in zip((top, bottom), _curves(Path(run["folder"])), strict=True):
                if points:
                    axes.plot(*zip(*points, strict=True), label=label and shortened(label, SHOWN_WIDTH), **style)
            shown.add(run["folder"])
    top.set(ylabel="sum of the loss terms")
    bottom.set(ylabel="result on validation", xlabel="epoch")
    for axes in (top, bottom):
        if axes.lines:
            axes.legend(frameon=False, fontsize="small")
    save(figure, path)


def _curves(run: Path) -> tuple[list[tuple], list[tuple]]:
    """(epoch, loss) of the logged steps and (epoch, mAP or top1) of the validations."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    losses = [row for row in rows if "terms" in row]
    per_epoch = next((row["step"] / row["epoch"] for row in losses if row["epoch"]), 1)
    checks = [(row["step"] / per_epoch, row.get("mAP", row.get("top1"))) for row in rows if "split" in row]
    return [(row["epoch"], sum(row["terms"].values())) for row in losses], checks
