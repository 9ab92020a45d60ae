"""Picture files without labels, read like a shard set, for prediction."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fastlt.data.pictures import BadImage, Checks, Picture, Treatment, prepare
from fastlt.data.sources.folder import EXTENSIONS
from fastlt.errors import UserError


class PictureFiles:
    """The pictures of some files. They are looked at once for their size and read again when they are shown.

    `unreadable` holds (path, reason) of those that Pillow does not read; they are left out. Plain files are not decoded
    for that: damage within them is found when DALI decodes them.
    """

    encoding, is_remote = "encoded", False
    attributes: dict[str, list[int]] = {}

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths: list[Path] = []
        self.unreadable: list[tuple[Path, str]] = []
        shapes = []
        for path in paths:
            try:
                picture = _prepare(path)
            except BadImage as error:
                self.unreadable.append((path, str(error)))
                continue
            self.paths.append(path)
            shapes.append((picture.height, picture.width))
        self._shapes = np.array(shapes, np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray) -> list[np.ndarray]:
        return [np.frombuffer(_prepare(self.paths[i]).data, np.uint8) for i in indices]

    def shapes(self, indices: np.ndarray) -> np.ndarray:
        return self._shapes[indices]

    def ids(self, indices: np.ndarray) -> list[str]:
        return [str(self.paths[i]) for i in indices]

    def labels(self, indices: np.ndarray) -> np.ndarray:
        return np.empty((len(indices), 0), np.int8)

    def class_members(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1, np.int64), np.empty(0, np.int64)


def _prepare(path: Path) -> Picture:
    """A plain file as it is, any other as a PNG of what Pillow sees. Raises BadImage."""
    return prepare(path, Treatment(), Checks(decode=False, dali=False))


def find_pictures(inputs: Iterable[Path]) -> list[Path]:
    """The files named, and the picture files anywhere below the folders named, sorted.

    Raises UserError for a path that does not exist and when there is no picture at all.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist; give picture files or folders that hold some")
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS) if path.is_dir() else [path]
        found += inside
    if not found:
        raise UserError(f"no picture files in {', '.join(map(str, inputs))}; known are {', '.join(sorted(EXTENSIONS))}")
    return found
