"""The gradients of the losses that recipes name: drawn, and shown at some logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastlt import config as run_config
from fastlt.config import MethodConfig
from fastlt.errors import UserError
from fastlt.evaluate.loss_gradients import LABELS, loss_gradients
from fastlt.report.gradient_plot import save_gradient_plot

LOGITS = np.linspace(-8, 8, 161)
SHOWN = (-8, -4, -2, -1, 0, 1, 2, 4, 8)
NAMED = {"positive": "a positive", "negative": "a negative", "unknown": "an unknown label"}


def draw_gradients(recipes: list[str], overrides: list[str], plot: Path, console: Console) -> dict:
    """Draws dL/dx of each recipe's loss into `plot`, prints it at `SHOWN`, and returns all of it.

    Unknown labels are shown if one of the losses lets them pull. Raises UserError for a method whose loss depends on
    more than logits and labels.
    """
    configs = {recipe: run_config.load(recipe, overrides)[0].method for recipe in recipes}
    found = {recipe: _gradients(recipe, method) for recipe, method in configs.items()}
    x = LOGITS.round(6).tolist()
    pulling = {label: drawn for label in LABELS if any(map(np.any, (drawn := _of_label(label, found)).values()))}
    save_gradient_plot(x, pulling, plot)
    for label, drawn in pulling.items():
        console.print(_table(label, drawn, x))
    console.print(f"drawn into {plot}", markup=False, soft_wrap=True)
    settings = {recipe: getattr(method, "loss", method) for recipe, method in configs.items()}
    return {"x": x, "losses": {name: each.model_dump(mode="json") for name, each in settings.items()}, "dL/dx": found}


def _gradients(recipe: str, method: MethodConfig) -> dict[str, list[float]]:
    try:
        return loss_gradients(method, LOGITS)
    except UserError as error:
        raise UserError(f"recipe {recipe}: {error}") from error


def _of_label(label: str, found: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """The gradients of the recipes that know such labels."""
    return {recipe: gradients[label] for recipe, gradients in found.items() if label in gradients}


def _table(label: str, drawn: dict[str, list[float]], x: list[float]) -> Table:
    table = Table(title=f"dL/dx of {NAMED[label]} at the logit x", title_justify="left", box=None, pad_edge=False)
    table.add_column("x")
    for shown in SHOWN:
        table.add_column(f"{shown:+d}" if shown else "0", justify="right")
    for recipe, gradients in drawn.items():
        table.add_row(escape(recipe), *(f"{gradients[x.index(shown)]:+.4f}" for shown in SHOWN))
    return table
