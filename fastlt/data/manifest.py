"""dataset.json: what a shard set says of itself, with a checksum over itself.

name, classes, multi_label, attributes  what the data set is; attributes group classes of which an image has one
split, records, counts, training_counts how many images, and of each class, here and in train
groups                                  head, medium, tail ...: inclusive ranges of training images
label_default                           0 or -1: what a class is that an image does not list
encoding, treatment                     raw or encoded; raw, max_side and quality, as asked for
checks                                  check: header or decode; on_bad: fail, skip or transcode; dali: whether it was
                                        tried on what might pass through. Absent in sets of earlier versions
source, recipe, hidden, subset          where the images come from, which of them stayed, and a sum of that choice
balanced_attributes                     whether train holds varied copies
bad                                     id and reason of each image that was left out
shards                                  of each file: records, size, SHA-256, place and crc32 of every array
format, version, fingerprint, done      of the format and of the build
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from fastlt.address import Address
from fastlt.data import manifest_check
from fastlt.data.plain_file import open_plain
from fastlt.errors import UserError
from fastlt.files import fsync_folder

FORMAT = "fastlt-shards"
VERSION = 1
NAME = "dataset.json"
SPLITS = ("train", "val", "test")
JOURNAL = "build.json"  # of a build that is not finished
LISTS = BAD_IMAGES, SOURCE_PROBLEMS = "bad-images.txt", "source-problems.txt"  # beside the splits, if there is a need
MEND = "build the data set again"
LARGEST = 256 << 20  # bytes of a manifest; a thousand shards take 2 MB


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
    return {**values, "checksum": _checksum(_dump(values))}


def begun(folder: Path | Address) -> bool:
    """Whether a build wrote to this folder, finished or not."""
    return (folder / NAME).exists() or (folder / JOURNAL).exists()


def shard_files(folder: Path) -> list[Path]:
    """Whatever builds put into a folder next to the manifests: shards, and what killed builds began."""
    return sorted([*folder.glob("shard-*.h5*"), *folder.glob("*.json.tmp")])


def present_splits(folder: Path | Address) -> list[str]:
    """The splits of a data set. Raises UserError if there is none for training."""
    present = [split for split in SPLITS if (folder / split / NAME).exists()]
    if (folder / NAME).exists():
        raise UserError(f"{folder} is one split of a data set; give the folder that it lies in")
    if "train" not in present:
        raise UserError(f"{folder} holds no data set: there is no {folder / 'train' / NAME}; fastlt build makes one")
    return present


def read_manifest(folder: Path | Address) -> dict:
    """The content of folder/dataset.json: every value is of its type and within its range.

    Raises UserError if it is missing, of another format or version, not byte for byte what was written, or made to
    deceive: the checksum is no secret.
    """
    path = folder / NAME
    try:
        values = _read_sealed(path)
    except FileNotFoundError:
        raise UserError(_missing(folder)) from None
    try:
        manifest_check.check_set(values)
    except manifest_check.Fault as fault:
        raise UserError(f"{path}: {fault}, so `fastlt build` did not write it; {MEND}") from None
    return values


def read_journal(folder: Path) -> dict:
    """The content of folder/build.json, checked alike."""
    path = folder / JOURNAL
    try:
        values = _read_sealed(path)
        manifest_check.check_journal(values)
    except (manifest_check.Fault, FileNotFoundError, UserError) as error:
        raise UserError(f"{path} is damaged; remove it to start again") from error
    return values


def _read_sealed(path: Path | Address) -> dict:
    """The values below the checksum. Raises FileNotFoundError, and UserError for all else."""
    try:
        return _parse(path, _read_text(path))
    except FileNotFoundError:
        raise
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; {MEND}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}); {MEND}") from error


def _read_text(path: Path | Address) -> str:
    if isinstance(path, Address):
        from fastlt.data.remote import transport

        return transport.read(path, 0, LARGEST, transport.AT_FIRST).decode("utf-8")
    with open(open_plain(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise UserError(f"{path} is damaged: it is larger than {LARGEST >> 20} MiB; {MEND}")
        return file.read().decode("utf-8")  # as it is: reading text would turn \r into \n


def _parse(path: Path | Address, text: str) -> dict:
    try:
        values = json.loads(text)
        checksum = values.pop("checksum", None) if isinstance(values, dict) else None
        sealed = _sealed_text(values, checksum) == text
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {MEND}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} was not written by `fastlt build`; give a folder that was")
    if values.get("version") != VERSION:
        version = manifest_check.shown(values.get("version"))
        raise UserError(f"{path} has format version {version}, this fastlt reads {VERSION}; {MEND}")
    if not sealed:
        raise UserError(f"{path} is damaged or was edited: its checksum does not fit; {MEND}")
    return values


def _missing(folder: Path | Address) -> str:
    if isinstance(folder, Path) and not folder.is_dir():
        return f"{folder} does not exist; give the folder of a split that `fastlt build` wrote"
    if (folder / JOURNAL).exists():
        return f"the build of {folder} is not finished; run the same `fastlt build` again and it goes on from there"
    inside = [split for split in SPLITS if (folder / split / NAME).exists()]
    if inside:
        return f"{folder} holds the splits {', '.join(inside)}; give one of them, such as {folder / inside[0]}"
    return f"{folder} has no {NAME}, so it is no shard set; give the folder of a split that `fastlt build` wrote"


def _dump(values: dict) -> str:
    return json.dumps(values, indent=1, ensure_ascii=True) + "\n"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed_text(values: dict, checksum: str) -> str | None:
    """What `write_json` makes of sealed values; None if this is not their checksum."""
    text = _dump(values)
    return f'{text[:-3]},\n "checksum": "{checksum}"\n}}\n' if checksum == _checksum(text) else None
