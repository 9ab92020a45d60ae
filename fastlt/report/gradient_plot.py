"""The gradients of losses, drawn over the logit."""

from __future__ import annotations

from pathlib import Path

from fastlt.report.plots import STREAM_INK, save

TITLES = {"positive": "the label is there", "negative": "the label is not there"}


def save_gradient_plot(logits: list[float], gradients: dict[str, dict[str, list[float]]], path: Path) -> None:
    """`gradients`: of each loss, by name, dL/dx of a positive and of a negative. Raises UserError for another suffix
    than .png, .svg or .pdf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (label, title) in zip(figure.subplots(1, 2), TITLES.items(), strict=True):
        for number, (name, found) in enumerate(gradients.items()):
            ink = STREAM_INK[number % len(STREAM_INK)]
            width = max(6.5 - 1.7 * number, 1.2)  # so that those below show where they are equal
            axes.plot(logits, found[label], color=ink, label=name, linewidth=width)
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set(xlabel="logit x", ylabel="dL / dx", title=title, xlim=(logits[0], logits[-1]))
        axes.legend(frameon=False)
    save(figure, path)
