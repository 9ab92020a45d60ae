"""Corel-5k (Duygulu et al., ECCV 2002) with train.json and test.json: 4,500 and 499 pictures, 260 labels."""

from __future__ import annotations

from pathlib import Path

from fastlt.data.sources import annotation


class Source(annotation.Source):
    """A folder or tar archive: train.json, test.json (samples[{image_name, image_labels}], labels[]), images/."""

    name = "corel5k"

    def __init__(self, root: Path):
        super().__init__(root, form="json")
