"""Compares every byte of shard sets with what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastlt.data import manifest
from fastlt.data.shard_writer import file_sha256
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass
class VerifyReport:
    """What `verify` compared; `problems` is empty if every byte is as it was written."""

    splits: list[str] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def verify(folder: str | Path, progress: Callable[[str, int, int], None] | None = None) -> VerifyReport:
    """Checks a data set (its train, val and test) or one split; `progress` gets (split, shards done, shards in all).

    Raises UserError only if there is no data set at all.
    """
    folder, report = Path(folder), VerifyReport()
    inside = [path for split in SPLITS if manifest.begun(path := folder / split)]
    alone = (folder / manifest.NAME).exists() or not inside
    for split in [folder] if alone else inside:
        try:
            values = manifest.read_manifest(split)
        except UserError as error:
            if alone and not (split / manifest.NAME).exists():
                raise
            report.problems.append(str(error))
            continue
        _verify_split(split, values, report, progress or (lambda *_: None))
    return report


def _verify_split(folder: Path, values: dict, report: VerifyReport, progress: Callable[[str, int, int], None]) -> None:
    report.splits.append(values["split"])
    damaged = False
    for number, shard in enumerate(values["shards"], 1):
        path = folder / shard["file"]
        if not path.exists():
            report.problems.append(f"{path} is missing; {manifest.MEND}")
        elif file_sha256(path) != shard["sha256"]:
            damaged = True
            report.problems.append(f"{path} is not what was written: its SHA-256 differs; {manifest.MEND}")
        else:
            report.bytes += path.stat().st_size
        report.records += shard["records"]
        progress(values["split"], number, len(values["shards"]))
    if damaged:
        report.problems += _damaged_records(folder)


def _damaged_records(folder: Path) -> list[str]:
    """Names the array or the records in which the damage lies, as far as the rest is sound."""
    try:
        with ShardSet(folder) as shards:
            return [line for row in range(len(shards)) if (line := _damage(shards, row))]
    except UserError as error:
        return [str(error)]


def _damage(shards: ShardSet, row: int) -> str | None:
    try:
        shards.read(np.array([row]))
    except UserError as error:
        return str(error)
    return None
