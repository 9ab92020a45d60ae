"""The gradients of the losses that recipes name: drawn, and shown at some logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastlt import config as run_config
from fastlt.config import LossConfig
from fastlt.errors import UserError
from fastlt.evaluate.loss_gradients import loss_gradients
from fastlt.report.gradient_plot import save_gradient_plot

LOGITS = np.linspace(-8, 8, 161)
SHOWN = (-8, -4, -2, -1, 0, 1, 2, 4, 8)


def draw_gradients(recipes: list[str], overrides: list[str], plot: Path, console: Console) -> dict:
    """Draws dL/dx of each recipe's loss into `plot`, prints it at `SHOWN`, and returns all of it."""
    losses = {recipe: _loss_of(recipe, overrides) for recipe in recipes}
    found = {recipe: loss_gradients(loss, LOGITS) for recipe, loss in losses.items()}
    x = LOGITS.round(6).tolist()
    save_gradient_plot(x, found, plot)
    for label in ("positive", "negative"):
        console.print(_table(label, found, x))
    console.print(f"drawn into {plot}", markup=False, soft_wrap=True)
    return {"x": x, "losses": {recipe: loss.model_dump(mode="json") for recipe, loss in losses.items()}, "dL/dx": found}


def _loss_of(recipe: str, overrides: list[str]) -> LossConfig:
    method = run_config.load(recipe, overrides)[0].method
    loss = getattr(method, "loss", None)
    if not isinstance(loss, LossConfig):
        raise UserError(f"recipe {recipe}: the method {method.name} names no loss in method.loss that could be drawn")
    return loss


def _table(label: str, found: dict[str, dict[str, list[float]]], x: list[float]) -> Table:
    table = Table(title=f"dL/dx of a {label} at the logit x", title_justify="left", box=None, pad_edge=False)
    table.add_column("x")
    for shown in SHOWN:
        table.add_column(f"{shown:+d}" if shown else "0", justify="right")
    for recipe, gradients in found.items():
        table.add_row(escape(recipe), *(f"{gradients[label][x.index(shown)]:+.4f}" for shown in SHOWN))
    return table
