"""Other loaders, one small file each: `pip install fastlt[peers]`, and FFCV by hand (it needs OpenCV's headers).

A file has `NEEDS`, the package that it imports, and `batches(setting)`: a context manager around an endless iterator of
what a batch of float32 pictures [batch, 3, size, size] is there. All decode the same bytes, crop at random by the same
law, flip and normalise, on as many cores.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlt.bench.baseline import Pictures

from fastlt.config import PipelineConfig
from fastlt.data.shards import ShardSet

NAMES = ("pillow", "torchvision", "torchcodec", "webdataset", "ffcv", "dali")
ABSENT = "not installed"


@dataclass(frozen=True)
class Setting:
    """What every loader of a comparison is given."""

    records: ShardSet
    pictures: Pictures  # the same as files
    pipeline: PipelineConfig
    batch: int
    cores: int
    folder: (
        Path  # for what a loader must write first, such as an archive; shared by the settings of one set of pictures
    )


def missing(name: str) -> bool:
    """Whether what the loader needs is not installed."""
    return importlib.util.find_spec(_module(name).NEEDS) is None


def batches(name: str, setting: Setting) -> AbstractContextManager:
    return _module(name).batches(setting)


def _module(name: str) -> Any:
    return importlib.import_module(f"fastlt.bench.peers.{name}")
