"""What a trained run makes of a split, or of picture files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from fastlt import distributed
from fastlt.commands.attribute_csv import attribute_csv
from fastlt.commands.runs import SplitOfRun
from fastlt.data.picture_files import PictureFiles
from fastlt.data.quiet_stderr import quiet_stderr
from fastlt.evaluate.annotation import chosen
from fastlt.evaluate.probability import probabilities
from fastlt.evaluate.thresholds import DEFAULT
from fastlt.files import write_text
from fastlt.report.tables import annotation_table, attributes_table, results_table
from fastlt.train.display import Display, headlines
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained


def measure_run(what: SplitOfRun, console: Console, flip: bool | None = None) -> dict:
    """The metrics of a split; prints them as a table. `flip` takes the place of `train.evaluate_flip`."""
    with distributed.join(what.device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        trained = _flipping(Trained.load(what.folder, ranks, what.checkpoint), flip)
        found = trained.measure(what.split, what.data, display.ticker(what.split))
        if ranks.is_first:
            seen = f"{found['images']:,} images of {what.split}"
            title = f"{what.run}: {found['checkpoint']} of step {found['step']} on {seen}"
            console.print(results_table(headlines(what.split, found), title))
            if found.get("annotation"):
                console.print(annotation_table(found["annotation"], "which labels are given"))
            if found.get("attributes"):
                console.print(attributes_table(found["attributes"], "attributes, where they are known"))
        return found


def predict_pictures(
    folder: RunFolder,
    pictures: PictureFiles,
    inputs: list[Path],
    out: Path,
    which: str | None,
    device: str | None,
    console: Console,
) -> None:
    """Writes the CSV and names what was left out; `inputs` are the files and folders that gave the pictures."""
    with distributed.join(device) as ranks:
        trained = _patient(Trained.load(folder, ranks, which), len(pictures))
        with quiet_stderr():  # decoders print of each picture that they refuse; these are named below
            scores, rows = trained.scores(pictures, Display(console).ticker("predict"))
    paths, has_attributes = [pictures.paths[row] for row in rows], trained.data.attributes
    write_text(
        out, attribute_csv(trained.data, paths, scores, inputs) if has_attributes else _csv(trained, paths, scores)
    )
    undecoded = sorted(set(range(len(pictures))) - set(rows.tolist()))
    left_out = [*pictures.unreadable, *((pictures.paths[row], "DALI does not decode it") for row in undecoded)]
    for path, reason in left_out:
        console.print(f"left out {path}: {reason}", markup=False, soft_wrap=True)
    console.print(f"{out}: {len(rows):,} pictures, {len(left_out)} left out", markup=False, soft_wrap=True)


def _flipping(trained: Trained, flip: bool | None) -> Trained:
    if flip is None:
        return trained
    train = trained.config.train.model_copy(update={"evaluate_flip": flip})
    return replace(trained, config=trained.config.model_copy(update={"train": train}))


def _patient(trained: Trained, pictures: int) -> Trained:
    """With no limit to the pictures that do not decode, which are named in the end."""
    data = trained.config.data.model_copy(update={"max_bad_images": pictures})
    return replace(trained, config=trained.config.model_copy(update={"data": data}))


def _csv(trained: Trained, paths: list[Path], scores: np.ndarray) -> str:
    """A header, then for each picture its path, its labels joined by ";", and the probability of every class."""
    classes = trained.data.classes
    chances = probabilities(scores, trained.data.multi_label)
    given = _given(trained, chances)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "labels", *classes])
    for path, row, labels in zip(paths, chances, given, strict=True):
        writer.writerow([path, ";".join(classes[c] for c in labels), *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def _given(trained: Trained, chances: np.ndarray) -> list[np.ndarray]:
    """The classes that each picture is given: the likeliest, or of several labels those that reach their thresholds."""
    if not trained.data.multi_label:
        return list(chances.argmax(1)[:, None])
    thresholds = trained.thresholds()
    return [np.flatnonzero(row) for row in chosen(chances, thresholds.values if thresholds else DEFAULT)]
