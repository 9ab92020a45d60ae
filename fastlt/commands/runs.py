"""train, eval and predict."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from fastlt import config as run_config
from fastlt import distributed
from fastlt.config import RunConfig
from fastlt.data.picture_files import PictureFiles, find_pictures
from fastlt.errors import UserError
from fastlt.files import write_text
from fastlt.report.page import write_page
from fastlt.report.tables import results_table
from fastlt.train.display import Display, headline
from fastlt.train.interrupt import Interrupted
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import train


def train_run(
    recipe: str | None, out: Path, overrides: list[str], resume: bool, device: str | None, console: Console
) -> dict:
    """Begins a run or goes on with one, evaluates it on the test split, and writes its summary and report."""
    folder = RunFolder(out)
    config, changes = _config(recipe, folder, overrides, resume)
    with distributed.join(device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        for line in changes:
            display.say(f"  {line}")
        try:
            summary = train(config, folder, ranks, resume, display, changes)
        except Interrupted as stopped:
            display.say(f"{stopped}; go on with: fastlt train --resume --out {out}")
            raise KeyboardInterrupt from None
        return _finish(folder, summary, ranks, display)


def _config(recipe: str | None, folder: RunFolder, overrides: list[str], resume: bool) -> tuple[RunConfig, list[str]]:
    if not resume:
        folder.check_free()
        return run_config.load(recipe, overrides)
    if not folder.last.exists():
        raise UserError(f"{folder.path} has no checkpoint to go on from; leave --resume out to begin anew")
    config, _ = run_config.load(str(folder.config), overrides)
    before, _ = run_config.load(str(folder.config))
    return config, run_config.changes(before.model_dump(mode="json"), config.model_dump(mode="json"))


def _finish(folder: RunFolder, summary: dict, ranks: distributed.Ranks, display: Display) -> dict:
    """Measures the chosen checkpoint on the test split (or validation), and writes summary.json and report.html."""
    trained = Trained.load(folder, ranks)
    split = next((s for s in ("test", "val") if (trained.config.data.path / s / "dataset.json").exists()), None)
    found = trained.measure(split, tick=display.ticker(split)) if split else {}
    summary = summary | {"checkpoint": trained.checkpoint.name, "split": split, "metrics": headline(found)}
    if ranks.is_first:
        write_text(folder.summary, json.dumps(summary | {"per_class": found.get("per_class", [])}, indent=2) + "\n")
        write_page(folder, summary, found)
        if found:
            display.console.print(results_table({split: headline(found)}, f"{folder.path} ({trained.checkpoint.name})"))
        display.say(f"report: {folder.report}")
    distributed.barrier()
    return summary


def evaluate_run(
    run: Path, split: str, data: Path | None, which: str | None, device: str | None, console: Console
) -> dict:
    """The metrics of a split; prints them as a table."""
    with distributed.join(device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        trained = Trained.load(RunFolder(run), ranks, which)
        found = trained.measure(split, data, display.ticker(split))
        if ranks.is_first:
            title = f"{run}: {found['checkpoint']} of step {found['step']} on {found['images']:,} images of {split}"
            console.print(results_table({split: headline(found)}, title))
        return found


def predict_files(
    run: Path, inputs: list[Path], out: Path, which: str | None, device: str | None, console: Console
) -> None:
    """A CSV with the file, the labels found and the probability of every class; unreadable files are named."""
    with distributed.join(device) as ranks:
        trained = Trained.load(RunFolder(run), ranks, which)
        pictures = PictureFiles(find_pictures(inputs))
        if not len(pictures):
            raise UserError(
                f"none of {len(pictures.unreadable)} pictures can be read; the first: {pictures.unreadable[0][0]}"
            )
        scores = trained.scores(pictures, Display(console).ticker("predict"))
    write_text(out, _csv(trained, pictures, scores))
    for path, reason in pictures.unreadable:
        console.print(f"left out {path}: {reason}", markup=False, soft_wrap=True)
    console.print(f"{out}: {len(pictures):,} pictures, {len(pictures.unreadable)} left out", markup=False)


def _csv(trained: Trained, pictures: PictureFiles, scores: np.ndarray) -> str:
    classes = trained.data.classes
    chances = probabilities(scores, trained.data.multi_label)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "labels", *classes])
    for path, row in zip(pictures.paths, chances, strict=True):
        chosen = np.flatnonzero(row > 0.5) if trained.data.multi_label else [row.argmax()]
        writer.writerow([path, " ".join(classes[c] for c in chosen), *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def probabilities(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Sigmoid of each score where labels are independent, softmax over the classes otherwise; float64 [N, C]."""
    scores = scores.astype(np.float64)
    if multi_label:
        return 0.5 * (1 + np.tanh(scores / 2))
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
