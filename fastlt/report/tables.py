"""Results as rich tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from fastlt.inspection import Inspection

if TYPE_CHECKING:
    from fastlt.evaluate.thresholds import Thresholds

BAR = 30  # characters of the longest bar
SHOWN = 24  # classes shown before the middle is left out


def data_table(found: Inspection) -> Table:
    """Counts of each class with a bar, and its share in what each stream draws; a long list loses its middle."""
    table = Table(title=escape(_title(found)), title_justify="left", box=None, pad_edge=False)
    for name, justify in (("class", "left"), ("train", "right"), ("", "left")):
        table.add_column(name, justify=justify)
    for split in list(found.counts)[1:]:
        table.add_column(split, justify="right")
    for stream in found.streams:
        table.add_column(stream.replace("_", " "), justify="right")
    order = sorted(range(len(found.classes)), key=lambda c: -found.counts["train"][c])
    for c in _ends(order):
        table.add_row(*_class_row(found, c) if c is not None else ["..."])
    return table


def _title(found: Inspection) -> str:
    images = ", ".join(f"{count:,} {split}" for split, count in found.images.items())
    groups = ", ".join(f"{len(classes)} {name}" for name, classes in found.groups.items())
    return (
        f"{found.name}: {images} images; {len(found.classes)} classes ({groups}), imbalance {found.imbalance:g}, "
        f"{found.labels_per_image:.2f} labels an image"
    )


def _class_row(found: Inspection, c: int) -> list[str]:
    train = found.counts["train"]
    bar = "█" * max(round(BAR * train[c] / max(train)), 1 if train[c] else 0)
    others = [f"{counts[c]:,}" for split, counts in found.counts.items() if split != "train"]
    shares = [f"{shares[c]:.3f}" for shares in found.streams.values()]
    return [escape(found.classes[c]), f"{train[c]:,}", bar, *others, *shares]


def _ends(order: list[int]) -> list[int | None]:
    if len(order) <= SHOWN:
        return list(order)
    half = SHOWN // 2
    return [*order[:half], None, *order[-half:]]


def results_table(rows: dict[str, dict], title: str) -> Table:
    """Metrics of several runs or splits, one a row; fractions as percentages."""
    names = list(
        dict.fromkeys(name for found in rows.values() for name, value in found.items() if isinstance(value, float))
    )
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for label, found in rows.items():
        table.add_row(escape(label), *(f"{100 * found[name]:.2f} %" if name in found else "" for name in names))
    return table


def annotation_table(rows: dict[str, dict], title: str) -> Table:
    """What `annotation_metrics` gives, one choice of thresholds a row."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(name.replace("_", " "), justify="right")
    for label, found in rows.items():
        table.add_row(escape(label), *map(annotation_text, found.values()))
    return table


def thresholds_table(classes: list[str], counts: list[int], fitted: Thresholds, title: str) -> Table:
    """Labels from head to tail with their thresholds; a long list loses its middle."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("label")
    for name in ("training images", "threshold", "correlation"):
        table.add_column(name, justify="right")
    order = sorted(range(len(classes)), key=lambda c: -counts[c])
    for c in _ends(order):
        if c is None:
            table.add_row("...")
            continue
        told = "common" if math.isnan(fitted.mcc[c]) else f"{fitted.mcc[c]:.3f}"
        table.add_row(escape(classes[c]), f"{counts[c]:,}", f"{fitted.values[c]:.4g}", told)
    return table


def annotation_text(value: float | int) -> str:
    """A fraction as a percentage, N+ as it is."""
    return f"{100 * value:.2f} %" if isinstance(value, float) else str(value)


def attributes_table(attributes: dict[str, dict], title: str) -> Table:
    """Of each attribute how often its value is right, beside what always giving the most frequent one scores."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute")
    for name in ("images", "accuracy", "balanced", "majority", "its accuracy", "its balanced"):
        table.add_column(name, justify="right")
    for name, row in attributes.items():
        own, majority = (
            [f"{100 * row[prefix + metric]:.2f} %" for metric in ("accuracy", "balanced_accuracy")]
            for prefix in ("", "majority_")
        )
        table.add_row(escape(name), f"{row['images']:,}", *own, escape(row["majority"]), *majority)
    return table


def ranking_table(top: dict[str, list[dict]], title: str) -> Table:
    """The first classes of several rankings side by side, each with its share."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("", justify="right")
    for name in top:
        table.add_column(escape(name))
    for place, row in enumerate(zip(*top.values(), strict=True), 1):
        table.add_row(str(place), *(f"{escape(entry['name'])} {entry['share']:.3f}" for entry in row))
    return table
