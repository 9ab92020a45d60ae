"""Photographs to time with: windows of the two that scikit-learn ships, as JPEG files and as a shard set."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from fastlt import hashing
from fastlt.data import manifest
from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source

COUNT, HEIGHT, WIDTH, CLASSES = 1024, 240, 320, 8


@contextmanager
def photo_set(data: Path | None) -> Iterator[tuple[ShardSet, list[Path]]]:
    """An open shard set of photographs and the same pictures as files; those of `data`/train if it is given."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        if data is None:
            _write_photos(root / "photos")
            build(open_source("folder", root / "photos"), root / "built", val=0.0, workers=1)
            data = root / "built"
        manifest.present_splits(data)
        with ShardSet(data / "train") as records:
            yield records, _files(records, root / "files")


def _write_photos(folder: Path) -> None:
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    for number in range(COUNT):
        photo = photos[number % len(photos)]
        room = np.array(photo.shape[:2]) - (HEIGHT, WIDTH) + 1
        top, left = hashing.integers(hashing.key("photos"), np.array([2 * number, 2 * number + 1]), room)
        path = folder / f"class-{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[top : top + HEIGHT, left : left + WIDTH]).save(path, quality=90)


def _files(records: ShardSet, folder: Path) -> list[Path]:
    """The records as files, as a plain data set would hold them."""
    folder.mkdir()
    paths = []
    for number in range(len(records)):
        picture = records.read(np.array([number]))[0]
        path = folder / f"{number:06d}"
        if records.encoding == "raw":
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            picture = np.frombuffer(file.getvalue(), np.uint8)
        path.write_bytes(picture.tobytes())
        paths.append(path)
    return paths
