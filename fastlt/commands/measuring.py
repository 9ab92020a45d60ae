"""What a trained run makes of a split, or of picture files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from rich.console import Console

from fastlt import distributed
from fastlt.data.picture_files import PictureFiles
from fastlt.files import write_text
from fastlt.report.tables import results_table
from fastlt.train.display import Display, headline
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained


def measure_run(
    folder: RunFolder, split: str, data: Path | None, which: str | None, device: str | None, console: Console
) -> dict:
    """The metrics of a split; prints them as a table."""
    with distributed.join(device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        trained = Trained.load(folder, ranks, which)
        found = trained.measure(split, data, display.ticker(split))
        if ranks.is_first:
            title = (
                f"{folder.path}: {found['checkpoint']} of step {found['step']} on {found['images']:,} images of {split}"
            )
            console.print(results_table({split: headline(found)}, title))
        return found


def predict_pictures(
    folder: RunFolder, pictures: PictureFiles, out: Path, which: str | None, device: str | None, console: Console
) -> None:
    """Writes the CSV and names what was left out."""
    with distributed.join(device) as ranks:
        trained = Trained.load(folder, ranks, which)
        scores, rows = trained.scores(pictures, Display(console).ticker("predict"))
    write_text(out, _csv(trained, [pictures.paths[row] for row in rows], scores))
    undecoded = sorted(set(range(len(pictures))) - set(rows.tolist()))
    left_out = [*pictures.unreadable, *((pictures.paths[row], "DALI does not decode it") for row in undecoded)]
    for path, reason in left_out:
        console.print(f"left out {path}: {reason}", markup=False, soft_wrap=True)
    console.print(f"{out}: {len(rows):,} pictures, {len(left_out)} left out", markup=False, soft_wrap=True)


def _csv(trained: Trained, paths: list[Path], scores: np.ndarray) -> str:
    """A header, then for each picture its path, its labels joined by ";", and the probability of every class."""
    classes = trained.data.classes
    chances = probabilities(scores, trained.data.multi_label)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "labels", *classes])
    for path, row in zip(paths, chances, strict=True):
        chosen = np.flatnonzero(row > 0.5) if trained.data.multi_label else [row.argmax()]
        writer.writerow([path, ";".join(classes[c] for c in chosen), *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def probabilities(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Sigmoid of each score where labels are independent, softmax over the classes otherwise; float64 [N, C]."""
    scores = scores.astype(np.float64)
    if multi_label:
        return 0.5 * (1 + np.tanh(scores / 2))
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
