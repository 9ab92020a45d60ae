"""Plots: the long tail, and results along it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from fastlt.errors import UserError
from fastlt.files import write_atomically
from fastlt.inspection import Inspection

INK = {"train": "#2b5c8a", "val": "#8a8a8a", "test": "#c58b2b"}
STREAM_INK = ("#2b5c8a", "#b3423a", "#4f8a4b", "#8a5fa8", "#c58b2b", "#3f9c9a")
NAMED = 40  # classes up to which each is named on the axis
NAME_LENGTH = 28  # characters of a class's name on an axis


def save_long_tail(found: Inspection, path: Path) -> None:
    """The images of each class, and the label distribution of each stream. Raises UserError for an unknown suffix."""
    save(long_tail(found), path)


def long_tail(found: Inspection):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    order = np.argsort(-np.asarray(found.counts["train"]), kind="stable")
    for split, counts in found.counts.items():
        top.plot(
            np.asarray(counts)[order], color=INK[split], label=f"{split}, {found.images[split]:,} images", marker="."
        )
    top.set(yscale="symlog", ylabel="images of the class")
    top.set_title(f"{found.name}: imbalance {found.imbalance:g}", parse_math=False)
    top.legend(frameon=False)
    for (name, shares), ink in zip(found.streams.items(), STREAM_INK, strict=False):
        bottom.plot(np.asarray(shares)[order], label=name.replace("_", " "), color=ink, marker=".")
    bottom.set(yscale="log", ylabel="share of drawn images", xlabel="classes, from head to tail")
    bottom.legend(frameon=False, ncols=3)
    name_classes(bottom, [found.classes[c] for c in order])
    return figure


def results_along_tail(per_class: list[dict], value: str):
    """A figure of each class's result, `value` being accuracy or average_precision, above its training images."""
    from matplotlib.figure import Figure

    rows = sorted(per_class, key=lambda row: -row["train_count"])
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(rows)), [row["train_count"] for row in rows], color="#d6dde5", width=1.0)
    axes.set(yscale="symlog", ylabel="training images", xlabel="classes, from head to tail")
    results = axes.twinx()
    points = [(place, row[value]) for place, row in enumerate(rows) if row[value] is not None]
    results.plot(*zip(*points, strict=True), "o", color="#b3423a", markersize=4)
    results.set(ylim=(-0.02, 1.02), ylabel=value.replace("_", " "))
    results.spines["right"].set_color("#b3423a")
    name_classes(axes, [row["name"] for row in rows])
    return figure


def name_classes(axes, names: list[str]) -> None:
    """Names each class below its place, as far as names have room."""
    if len(names) <= NAMED:
        slant = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(len(names)), list(map(shortened, names)), parse_math=False, **slant)


def shortened(name: str, most: int = NAME_LENGTH) -> str:
    """The name on one line, cut at the end, without characters that cannot be drawn."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in name)
    return line if len(line) <= most else line[: most - 1] + "…"


def png(figure) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font lacks
        figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def save(figure, path: Path) -> None:
    """Into a .png, .svg or .pdf file. Raises UserError for another suffix."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "svg", "pdf"):
        raise UserError(f"cannot draw into {path}; choose a .png, .svg or .pdf file")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=110))
