"""Compares every byte of shard sets with what was written, and what they say of themselves with what they hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastlt.address import Address, located
from fastlt.data import manifest
from fastlt.data.hdf5_check import hdf5_faults
from fastlt.data.manifest import MEND
from fastlt.data.remote.cache import CacheFault
from fastlt.data.remote.files import fetched
from fastlt.data.shard_writer import file_sha256
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

NAMED = 20  # damaged records of a shard
BATCH = 256  # records read at a time
Progress = Callable[[str, int, int], None]


@dataclass
class VerifyReport:
    """What `verify` compared; `problems` is empty if every byte is as it was written."""

    splits: list[str] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def verify(folder: str | Path | Address, progress: Progress | None = None) -> VerifyReport:
    """Checks a data set (its train, val and test) or one split; `progress` gets (split, shards done, shards in all).

    Checksums tell what changed by accident. Against a set that was made to deceive, with checksums that fit, it
    compares the manifest with the shards as well: records, labels, counts, and what HDF5 tools would see. At an address
    it looks at what lies there now, not at what the cache has of it.
    Raises UserError only if there is no data set at all, or no room for a copy of a shard from an address.
    """
    folder, report = located(folder), VerifyReport()
    inside = [path for split in manifest.SPLITS if manifest.begun(path := folder / split)]
    alone = (folder / manifest.NAME).exists() or not inside
    read: dict[Path | Address, dict] = {}
    for split in [folder] if alone else inside:
        try:
            values = manifest.read_manifest(split)
        except UserError as error:
            if alone and not (split / manifest.NAME).exists():
                raise
            report.problems.append(str(error))
            continue
        _verify_split(split, values, report, progress or (lambda *_: None))
        read[split] = values
    if not alone:
        report.problems += _disagreements(read)
    return report


def _verify_split(folder: Path, values: dict, report: VerifyReport, progress: Progress) -> None:
    report.splits.append(values["split"])
    problems, counts = [], np.zeros(len(values["classes"]), np.int64)
    is_remote = isinstance(folder, Address)
    check = _remote_shard_problems if is_remote else _shard_problems
    for number, shard in enumerate(values["shards"], 1):
        found = check(folder, values, shard, counts)
        problems += found
        report.bytes += 0 if found else shard["bytes"]
        report.records += shard["records"]
        progress(values["split"], number, len(values["shards"]))
    problems += [] if is_remote else _strays(folder, values)
    if not problems and counts.tolist() != values["counts"]:
        problems.append(f"{folder / manifest.NAME}: its counts of the classes are not those of its labels; {MEND}")
    report.problems += problems or ([] if is_remote else _hdf5_problems(folder, values))


def _remote_shard_problems(folder: Address, values: dict, shard: dict, counts: np.ndarray) -> list[str]:
    """The same of a shard at an address: a copy of it is made for that, and removed. Raises CacheFault."""
    try:
        with fetched(folder, shard) as copy:
            alone = {**values, "shards": [shard]}
            found = _shard_problems(copy, values, shard, counts) or _hdf5_problems(copy, alone)
            return [line.replace(str(copy), str(folder)) for line in found]
    except CacheFault:
        raise
    except UserError as error:
        return [str(error)]


def _hdf5_problems(folder: Path, values: dict) -> list[str]:
    return [f"{line}; {MEND}" for line in hdf5_faults(folder, values)]


def _shard_problems(folder: Path, values: dict, shard: dict, counts: np.ndarray) -> list[str]:
    """What is wrong with a shard; adds its positive labels to `counts`."""
    path = folder / shard["file"]
    try:
        digest, size = file_sha256(path), path.stat().st_size
    except FileNotFoundError:
        return [f"{path} is missing; {MEND}"]
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}; {MEND}"]
    swapped = [other["file"] for other in values["shards"] if other["sha256"] == digest and other is not shard]
    if swapped and digest != shard["sha256"]:
        return [f"{path} holds what {swapped[0]} should hold; give the files their names back"]
    if size != shard["bytes"]:
        return [f"{path} has {size} bytes where {shard['bytes']} were written; {MEND}"]
    damages = _damages(folder, {**values, "shards": [shard]}, counts)
    if digest == shard["sha256"]:
        return damages
    around = f"{path}: its arrays and records are whole, so what changed is the HDF5 structure around them"
    return [f"{path} is not what was written: its SHA-256 differs; {MEND}", *(damages or [around])]


def _damages(folder: Path, part: dict, counts: np.ndarray) -> list[str]:
    """Names the array or the records of one shard in which the damage lies, as far as the rest is sound."""
    lines: list[str] = []
    try:
        with ShardSet(folder, values=part) as shards:
            counts += np.diff(shards.class_members()[0])
            lines += itertools.islice(_damaged_records(shards), NAMED + 1)
            if len(lines) > NAMED:
                lines[NAMED] = f"{folder / part['shards'][0]['file']}: more than these {NAMED} records are damaged"
            shards.ids(np.array([0]))  # checks those of the whole shard
    except UserError as error:
        lines.append(str(error))
    return lines


def _damaged_records(shards: ShardSet) -> Iterator[str]:
    for start in range(0, len(shards), BATCH):
        rows = np.arange(start, min(start + BATCH, len(shards)))
        if _damage(shards, rows):
            yield from filter(None, (_damage(shards, rows[i : i + 1]) for i in range(len(rows))))


def _damage(shards: ShardSet, rows: np.ndarray) -> str | None:
    try:
        shards.read(rows)
    except UserError as error:
        return str(error)
    return None


def _strays(folder: Path, values: dict) -> list[str]:
    """Files that pass for parts of the set."""
    listed = {shard["file"] for shard in values["shards"]}
    lines = [
        f"{path} does not belong to the set, {manifest.NAME} does not list it; remove it"
        for path in manifest.shard_files(folder)
        if path.name not in listed
    ]
    journal = folder / manifest.JOURNAL
    return [*lines, f"{journal} is left of a build that was killed; run it again"] if journal.exists() else lines


def _disagreements(read: dict[Path, dict]) -> list[str]:
    """Splits of one data set have their folder's name, the same classes, and the training counts of `train`."""
    lines = [
        f"{folder} holds the split {values['split']}; give the folders their names back"
        for folder, values in read.items()
        if values["split"] != folder.name
    ]
    if not lines and read:
        first, *others = read
        lines = [
            f"{other} is of another data set than {first}: their {key} differ; {MEND}"
            for other in others
            for key in ("classes", "multi_label", "training_counts")
            if read[other][key] != read[first][key]
        ]
    return lines
