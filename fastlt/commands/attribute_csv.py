"""Predicted attributes, written in the columns of the table that a data set was made of."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from fastlt.evaluate import attributes
from fastlt.progress import TrainingSet


def attribute_csv(data: TrainingSet, paths: list[Path], scores: np.ndarray, inputs: list[Path]) -> str:
    """A row for each picture: its path and, of each attribute, the value of the highest score, of scores [N, C].

    If `inputs` is one folder, paths start from it: source csv reads such a table again with that folder as its root.
    """
    folder = inputs[0] if len(inputs) == 1 and inputs[0].is_dir() else None
    columns = [[path.relative_to(folder) if folder else path for path in paths]]
    for name, chosen in attributes.values(scores, data.attributes).items():
        columns.append([data.classes[c].removeprefix(f"{name}=") for c in chosen])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([data.path_column, *data.attributes])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()
