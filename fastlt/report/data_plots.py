"""Plots of what a data set holds: each split along the tail, streams, labels that are known, before and after."""

from __future__ import annotations

import numpy as np

from fastlt.inspection import Inspection
from fastlt.report.plots import STREAM_INK, shortened
from fastlt.report.tail_axis import TailAxis

KNOWN_INK = {"positive": "#2b5c8a", "negative": "#9fb0c2", "unknown": "#d9b36c"}
BEFORE_INK = "#c3cedb"
STREAM_STYLE = {"effective_number": "--"}  # it often falls on class_balanced, which then is seen between the dashes


def splits(found: Inspection, axis: TailAxis):
    """A figure with one row of bars a split: the images of each class, in the colours of the groups."""
    figure, rows = _figure(len(found.counts), 2.4)
    for row, (split, counts) in zip(rows, found.counts.items(), strict=True):
        axis.bars(row, axis.means(counts))
        _count_axis(row, f"images in {shortened(split)}")
    axis.finish(rows[-1])
    _legend(rows[0])
    return figure


def streams(found: Inspection, axis: TailAxis):
    """A figure of the label distribution that each stream draws."""
    figure, (axes,) = _figure(1, 3.6)
    for (name, shares), ink in zip(found.streams.items(), STREAM_INK, strict=False):
        label, style = name.replace("_", " "), STREAM_STYLE.get(name, "-")
        axis.line(axes, _drawn(axis.means(shares)), label=label, color=ink, linestyle=style)
    _share_axis(axes, "share of drawn images")
    axis.finish(axes)
    _legend(axes)
    return figure


def known(found: Inspection, axis: TailAxis):
    """A figure of the training images in which each class is positive, negative, unknown: shares and numbers."""
    figure, (top, bottom) = _figure(2, 2.6)
    stacked = np.zeros(len(axis.edges) - 1)
    for (name, ink), shares in zip(KNOWN_INK.items(), label_shares_known(found, "train"), strict=True):
        heights = axis.means(shares)
        axis.plain_bars(top, heights, stacked, color=ink, label=name)
        axis.line(bottom, heights * found.images["train"], color=ink)
        stacked += heights
    top.set(ylim=(0, 1), ylabel="share of the images")
    _count_axis(bottom, "training images")
    axis.finish(bottom)
    _legend(top)
    return figure


def label_shares_known(found: Inspection, split: str) -> np.ndarray:
    """float64 [3, C]: the shares of the split's images in which each class is positive, negative, unknown."""
    positive, unknown = np.asarray(found.counts[split]), np.asarray(found.unknown[split])
    return np.stack([positive, found.images[split] - positive - unknown, unknown]) / found.images[split]


def before_after(before: Inspection, before_counts: np.ndarray, after: Inspection, axis: TailAxis, titles: list[str]):
    """A figure of training images of the same classes in two data sets, `before_counts` [C] in the order of `after`."""
    figure, rows = _figure(2, 2.6)
    heights = np.stack([axis.means(before_counts), axis.means(after.counts["train"])])
    images = np.array([[before.images["train"]], [after.images["train"]]])
    labels = [shortened(title) for title in titles]
    for row, (first, second) in zip(rows, (heights, _drawn(heights / images)), strict=True):
        axis.plain_bars(row, first, color=BEFORE_INK, label=labels[0])
        axis.line(row, second, color=KNOWN_INK["positive"], linewidth=1.6, label=labels[1])
    _count_axis(rows[0], "images of the class")
    _share_axis(rows[1], "share of the images")
    axis.finish(rows[1])
    _legend(rows[0], reverse=True)  # lines come first in a legend
    return figure


def _drawn(shares: np.ndarray) -> np.ndarray:
    """The shares with a gap where there are no images, for an axis of logarithms."""
    return np.where(shares > 0, shares, np.nan)


def _figure(rows: int, height: float):
    """A figure with axes one above the other that share the classes; `height` of each in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, rows * height + 0.9), layout="constrained")
    return figure, figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]


def _count_axis(axes, meaning: str) -> None:
    from matplotlib.ticker import StrMethodFormatter

    axes.set(yscale="symlog", ylabel=meaning)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _share_axis(axes, meaning: str) -> None:
    """Logarithmic, in percent; between the powers of ten 2 and 5 are named where few powers are shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(yscale="log", ylabel=meaning)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter(FuncFormatter(_percent) if high < 1000 * low else NullFormatter())


def _percent(value: float, _place: int) -> str:
    return f"{100 * value:.2g} %" if value < 1 else f"{100 * value:.0f} %"


def _legend(axes, reverse: bool = False) -> None:
    """Above the plot, where it hides nothing, and on the left, where a narrow window begins."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    legend = axes.legend(frameon=False, ncols=5, reverse=reverse, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
