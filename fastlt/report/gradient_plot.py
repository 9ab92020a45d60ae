"""The gradients of losses, drawn over the logit and the probability that it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlt.report.plots import STREAM_INK, save

TITLES = {
    "positive": "the label is there",
    "negative": "the label is not there",
    "unknown": "nobody knows whether the label is there",
}
PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def save_gradient_plot(logits: list[float], gradients: dict[str, dict[str, list[float]]], path: Path) -> None:
    """`gradients`: of each kind of label, by the name of each loss, dL/dx. Raises UserError for another suffix than
    .png, .svg or .pdf."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(gradients), 4.4), layout="constrained")
    names = list(dict.fromkeys(name for losses in gradients.values() for name in losses))
    for axes, (label, losses) in zip(
        figure.subplots(1, len(gradients), squeeze=False)[0], gradients.items(), strict=True
    ):
        for name, values in losses.items():
            number = names.index(name)
            ink = STREAM_INK[number % len(STREAM_INK)]
            width = max(6.5 - 1.7 * number, 1.2)  # so that those below show where they are equal
            axes.plot(logits, values, color=ink, label=name, linewidth=width)
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set(xlabel="logit x", ylabel="dL / dx", title=TITLES[label], xlim=(logits[0], logits[-1]))
        axes.legend(frameon=False)
        _add_probabilities(axes)
    save(figure, path)


def _add_probabilities(axes) -> None:
    top = axes.secondary_xaxis("top")
    top.set_xticks(_logit(np.array(PROBABILITIES)), [f"{p:g}" for p in PROBABILITIES], fontsize="small")
    top.set_xlabel("probability sigmoid(x)", fontsize="small")


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))
