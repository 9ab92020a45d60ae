"""Writes one shard: records go to a side file first, as a contiguous HDF5 dataset cannot grow."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import zlib
from pathlib import Path

import h5py
import numpy as np

from fastlt.data import layout
from fastlt.data.pictures import Picture
from fastlt.data.plain_file import open_plain
from fastlt.data.sparse_file import SparseFile
from fastlt.errors import UserError
from fastlt.files import fsync_folder

BLOCK = 8 << 20  # bytes copied or hashed at a time
NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files may not grow so large",
}


class ShardWriter:
    """Collects records, then lays them out once as `path`; until `finish` returns nothing stands under that name.

    The same records give the same file, byte for byte. Leaving the context without `finish` removes what was begun.
    Raises UserError on a full disk.
    """

    def __init__(self, path: Path, encoding: str, label_default: int = 0):
        self.path, self.encoding, self.label_default = path, encoding, label_default
        self.size = 0  # bytes of all records so far
        self._side = path.with_name(path.name + ".part")
        self._aside = path.with_name(path.name + ".tmp")
        self._columns: dict[str, list] = {name: [] for name in (*layout.ARRAYS, layout.IDS)}
        self._columns["offset"].append(0)
        self._columns["label_indptr"].append(0)
        try:
            self._file = open(self._side, "w+b", buffering=1 << 20)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise no_room(path, error) from error

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):  # its buffer found no room, which was reported before
            self._file.close()
        self._side.unlink(missing_ok=True)
        self._aside.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._columns["crc32"])

    def append(self, id: str, picture: Picture, labels: list[tuple[int, int]]) -> None:
        """Adds a record; `labels` are (class, value) pairs, the classes ascending."""
        try:
            self._file.write(picture.data)
        except OSError as error:
            raise no_room(self.path, error) from error
        self.size += len(picture.data)
        columns = self._columns
        columns["offset"].append(self.size)
        columns["crc32"].append(zlib.crc32(picture.data))
        columns["height"].append(picture.height)
        columns["width"].append(picture.width)
        columns["label_index"] += [index for index, _ in labels]
        columns["label_value"] += [value for _, value in labels]
        columns["label_indptr"].append(len(columns["label_index"]))
        columns["id"].append(id.encode("utf-8", "surrogateescape"))

    def finish(self) -> dict:
        """Lays the shard out, syncs and renames it. Returns its entry for dataset.json."""
        image, places = self._lay_out()
        try:
            self._write(image, places[layout.BYTES]["at"])
            digest, size = file_sha256(self._aside), self._aside.stat().st_size
            os.replace(self._aside, self.path)
            fsync_folder(self.path.parent)
        except OSError as error:
            raise no_room(self.path, error) from error
        return {"file": self.path.name, "records": len(self), "bytes": size, "sha256": digest, "arrays": places}

    def _lay_out(self) -> tuple[SparseFile, dict[str, dict]]:
        """The HDF5 file but for the records' bytes, for which it has room, and the place of each array in it."""
        image, places = SparseFile(), {}
        with h5py.File(image, "w", driver="fileobj") as file:
            file.attrs["format"] = layout.FORMAT
            file.attrs["version"] = layout.VERSION
            file.attrs["encoding"] = self.encoding
            file.attrs["label_default"] = self.label_default
            for name, dtype in layout.ARRAYS.items():
                places[name] = _store(file, name, np.asarray(self._columns[name], dtype))
            places[layout.IDS] = _store(file, layout.IDS, np.asarray(self._columns["id"], np.bytes_))
            records = h5py.h5d.create(
                file.id, layout.BYTES.encode(), h5py.h5t.STD_U8LE, h5py.h5s.create_simple((self.size,)), _room()
            )
            places[layout.BYTES] = {"at": records.get_offset(), "length": self.size}
        return image, places

    def _write(self, image: SparseFile, records_at: int) -> None:
        self._file.flush()
        self._file.seek(0)
        with open(self._aside, "wb") as out:
            image.copy_to(out)
            out.seek(records_at)
            while block := self._file.read(BLOCK):
                out.write(block)
            out.flush()
            os.fsync(out.fileno())


def _store(file: h5py.File, name: str, values: np.ndarray) -> dict:
    place = {"length": len(values), "crc32": zlib.crc32(values)}
    if values.dtype.kind == "S":
        place["width"] = values.dtype.itemsize
        values = values.astype(h5py.string_dtype("utf-8", values.dtype.itemsize))
    dataset = file.create_dataset(name, data=values, track_times=False)
    return {"at": dataset.id.get_offset() or 0, **place}


def _room() -> h5py.h5p.PropDCID:
    """Contiguous, its place fixed at once, nothing written to it."""
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_layout(h5py.h5d.CONTIGUOUS)
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    options.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    options.set_obj_track_times(False)
    return options


def file_sha256(path: Path) -> str:
    """Raises OSError, also if it is no regular file."""
    digest = hashlib.sha256()
    with open(open_plain(path), "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def no_room(path: Path, error: OSError) -> UserError:
    """What to tell the user when writing `path` failed."""
    reason = NO_ROOM.get(error.errno, f"writing failed ({error.strerror})")
    return UserError(f"{path}: {reason}; make room and run the same command again: it goes on after the last shard")
