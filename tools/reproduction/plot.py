"""A part's plot: a bar for each row at its mean, a point for each seed."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from fastlt.files import write_atomically
from fastlt.report.plots import INK, png, shortened
from reproduction.compare import Difference
from reproduction.parts import Part

LABEL = 60  # letters: rows may differ in their last words


def save(part: Part, table: dict, path: Path) -> None:
    rows = [(row["label"], _values(row, part.metric)) for row in table["rows"]]
    rows = [(label, values) for label, values in rows if values][::-1]
    figure = Figure(figsize=(8, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(rows)), [mean(values) for _, values in rows], color="#d6dde5", height=0.7)
    for place, (_, values) in enumerate(rows):
        axes.plot(values, [place] * len(values), "o", color=INK["train"], markersize=4)
    axes.set_yticks(range(len(rows)), [shortened(label, LABEL) for label, _ in rows], parse_math=False)
    axes.set_xlabel(f"{part.metric.replace('_', ' ')}, percent; a point for each seed")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    picture = png(figure)
    write_atomically(path, lambda file: file.write(picture))


def save_differences(found: list[tuple[str, Difference]], path: Path) -> None:
    """What the papers expect to be above zero, labelled, in percent points; bars where there are several seeds."""
    places = range(len(found))[::-1]
    figure = Figure(figsize=(9, 0.9 + 0.3 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#8a94a0", linewidth=1)
    for place, (_, difference) in zip(places, found, strict=True):
        error = 100 * (difference.error or 0)
        axes.errorbar(100 * difference.mean, place, xerr=error, fmt="o", color=INK["train"], markersize=4, capsize=3)
    axes.set_yticks(list(places), [label for label, _ in found], parse_math=False)
    axes.set_xlabel("percent points, and their standard error over seeds")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    picture = png(figure)
    write_atomically(path, lambda file: file.write(picture))


def _values(row: dict, metric: str) -> list[float]:
    return [100 * run["metrics"][metric] for run in row["runs"] if metric in run["metrics"]]
