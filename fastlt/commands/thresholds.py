"""Thresholds of a run: fitted, shown and kept beside its checkpoints."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from fastlt import config as run_config
from fastlt import distributed
from fastlt.commands.runs import SplitOfRun
from fastlt.errors import UserError
from fastlt.evaluate.annotation import annotation_metrics, chosen
from fastlt.evaluate.probability import probabilities
from fastlt.evaluate.thresholds import DEFAULT, FILE, GRID, Thresholds, fit
from fastlt.report.tables import annotation_table, thresholds_table
from fastlt.train.cross_fit import held_out_scores
from fastlt.train.display import Display
from fastlt.train.trained import Trained


def fit_thresholds(what: SplitOfRun, console: Console, all_scores: bool, folds: int | None) -> dict:
    """Fits a threshold to every label, keeps them in the run, prints and returns what came of it."""
    folder = what.folder
    with distributed.join(what.device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        trained = Trained.load(folder, ranks, what.checkpoint)
        if not trained.data.multi_label:
            raise UserError(f"{folder.path} has one label an image: the likeliest is given, whatever its probability")
        root = what.data or trained.config.data.path
        if folds:
            config, _ = run_config.load(str(folder.config))
            scores, labels = held_out_scores(config, root, folds, folder.path / "cross_fit", ranks, display)
        else:
            with trained.open_split(what.split, what.data) as records:
                scores, rows = trained.scores(records, display.ticker(what.split))
                labels = records.labels(rows)
        chances = probabilities(scores, multi_label=True)
        fitted = fit(chances, labels, None if all_scores else GRID)
        origin = {
            "checkpoint": trained.checkpoint.name,
            "step": trained.step,
            "data": str(root),
            "split": what.split,
            "folds": folds,
            "images": len(labels),
            "candidates": "all probabilities" if all_scores else GRID.tolist(),
        }
        if ranks.is_first:
            fitted.save(folder.path, trained.data.classes, origin)
            _show(folder, trained, fitted, chances, labels, origin, console)
        return origin | _figures(trained, fitted)


def _show(folder, trained: Trained, fitted: Thresholds, chances, labels, origin: dict, console: Console) -> None:
    console.print(thresholds_table(trained.data.classes, trained.data.counts, fitted, f"{folder.path}: thresholds"))
    rows = {
        f"threshold {DEFAULT}": annotation_metrics(chosen(chances, DEFAULT), labels),
        "these thresholds": annotation_metrics(fitted.choose(chances), labels),
    }
    where = f"{origin['images']:,} images of {origin['split']}"
    console.print(annotation_table(rows, f"on the {where} that they were fitted on"))
    alone = int(np.isnan(fitted.mcc).sum())
    if alone:
        told = f"{alone} labels that no threshold tells apart there take {fitted.common:g}, the best of all together"
        console.print(told, markup=False, soft_wrap=True)
    console.print(f"kept in {folder.path / FILE}; eval and predict use them", markup=False, soft_wrap=True)


def _figures(trained: Trained, fitted: Thresholds) -> dict:
    own = ~np.isnan(fitted.mcc)
    return {
        "common": fitted.common,
        "labels_with_the_common_one": [name for name, has in zip(trained.data.classes, own, strict=True) if not has],
        "mean_mcc": float(fitted.mcc[own].mean()) if own.any() else 0.0,
        "thresholds": dict(zip(trained.data.classes, fitted.values.tolist(), strict=True)),
    }
