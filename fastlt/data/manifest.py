"""dataset.json: what a shard set says of itself, with a checksum over itself."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from fastlt.errors import UserError
from fastlt.files import fsync_folder

FORMAT = "fastlt-shards"
VERSION = 1
NAME = "dataset.json"
JOURNAL = "build.json"  # of a build that is not finished
MEND = "build the data set again"


def write_json(path: Path, values: dict) -> None:
    """Writes aside, syncs, renames. The same values give the same bytes."""
    aside = path.with_name(path.name + ".tmp")
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(_dump(values))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def seal(values: dict) -> dict:
    """The values with format, version and a checksum over all of them."""
    values = {"format": FORMAT, "version": VERSION, **values}
    return {**values, "checksum": _checksum(values)}


def begun(folder: Path) -> bool:
    """Whether a build wrote to this folder, finished or not."""
    return (folder / NAME).exists() or (folder / JOURNAL).exists()


def read_manifest(folder: Path) -> dict:
    """The checked content of folder/dataset.json.

    Raises UserError if it is missing, of another format or version, or not byte for byte what was written.
    """
    path = folder / NAME
    try:
        text = path.read_bytes().decode("utf-8")  # as it is: reading text would turn \r into \n
    except FileNotFoundError:
        raise UserError(_missing(folder)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); {MEND}") from error
    values = _parse(path, text)
    checksum = values.pop("checksum", None)
    if checksum != _checksum(values) or text != _dump({**values, "checksum": checksum}):
        raise UserError(f"{path} is damaged or was edited: its checksum does not fit; {MEND}")
    return values


def _parse(path: Path, text: str) -> dict:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {MEND}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} was not written by `fastlt build`; give a folder that was")
    if values.get("version") != VERSION:
        raise UserError(f"{path} has format version {values.get('version')}, this fastlt reads {VERSION}; {MEND}")
    return values


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist; give the folder of a split that `fastlt build` wrote"
    if (folder / JOURNAL).exists():
        return f"the build of {folder} is not finished; run the same `fastlt build` again and it goes on from there"
    inside = [split for split in ("train", "val", "test") if (folder / split / NAME).exists()]
    if inside:
        return f"{folder} holds the splits {', '.join(inside)}; give one of them, such as {folder / inside[0]}"
    return f"{folder} has no {NAME}, so it is no shard set; give the folder of a split that `fastlt build` wrote"


def _dump(values: dict) -> str:
    return json.dumps(values, indent=1, ensure_ascii=True) + "\n"


def _checksum(values: dict) -> str:
    return hashlib.sha256(_dump(values).encode()).hexdigest()
