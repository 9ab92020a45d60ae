"""How often each class is there, as a model of partly annotated images estimates it: kept beside the run it is of."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fastlt.errors import UserError
from fastlt.files import write_text

NAME = "prior.json"
FORMAT = "fastlt-prior"


@dataclass(frozen=True)
class ClassPrior:
    """Mean probability of each class over the training images, by index: names may repeat."""

    classes: list[str]
    prior: list[float]
    images: int
    dataset: str
    mode: str | None  # of the model: what it took unknown labels for
    checkpoint: str
    checkpoint_sha256: str

    def of_classes(self, classes: Sequence[str]) -> list[float]:
        """The priors of a data set's classes. Raises UserError if these are not the same in the same order."""
        if len(classes) != len(self.classes):
            raise UserError(
                f"the prior is of {len(self.classes)} classes, the data set has {len(classes)}; estimate it on this one"
            )
        for number, (own, there) in enumerate(zip(classes, self.classes, strict=True)):
            if own != there:
                raise UserError(
                    f"class {number} is {there!r} in the prior and {own!r} in the data set; estimate it on this one"
                )
        return self.prior

    def write(self, run: Path) -> Path:
        path = run / NAME
        write_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")
        return path


def read(path: Path) -> ClassPrior:
    """Of a run folder, or of the file in it.

    Raises UserError if it is missing, no such file, or of a model that took unknown labels for negatives, whose
    estimate is useless (Ben-Baruch et al., CVPR 2022).
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"no class prior {file}; train in the mode ignore and then run: fastlt prior {path}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError
        found = ClassPrior(**values)
        _check(found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} was not written by `fastlt prior`, or is damaged; estimate it again") from error
    if found.mode == "negative":
        raise UserError(
            f"the prior {file} is of a model that took unknown labels for negatives, so it says nothing of how common "
            "classes are; estimate it with a run of the mode ignore"
        )
    return found


def _check(found: ClassPrior) -> None:
    """Raises ValueError, or TypeError, for what `write` does not write."""
    numbers = len(found.prior) == len(found.classes) > 0 and all(0 <= value <= 1 for value in found.prior)
    texts = all(isinstance(name, str) for name in found.classes)
    if not (numbers and texts and all(map(math.isfinite, found.prior)) and isinstance(found.images, int)):
        raise ValueError
