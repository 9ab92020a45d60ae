"""Results as rich tables."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from fastlt.inspection import Inspection

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
