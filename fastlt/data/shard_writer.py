"""Writes one shard: the records straight to their place in the file, the HDF5 structure around them at the end."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import zlib
from array import array
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from fastlt.data import layout
from fastlt.data.pictures import Picture
from fastlt.data.plain_file import open_plain
from fastlt.data.sparse_file import SparseFile
from fastlt.errors import UserError
from fastlt.files import fsync_folder

BLOCK = 1 << 20  # bytes written or hashed at a time
ALIGNED = {"alignment_threshold": 1, "alignment_interval": 8}  # all arrays in the file
NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files may not grow so large",
}


class ShardWriter:
    """Collects records and lays them out as `path`; until `finish` returns nothing stands under that name.

    The same records give the same file, byte for byte. Leaving the context without `finish` removes what was begun.
    Besides the records, which go to the disk, some 40 bytes of each image, its id and labels are held in memory.
    Raises UserError on a full disk.
    """

    def __init__(self, path: Path, encoding: str, label_default: int = 0):
        self.path, self.encoding, self.label_default = path, encoding, label_default
        self.size = 0  # bytes of all records so far
        self._aside = path.with_name(path.name + ".tmp")
        self._columns = {name: array(np.dtype(kind).char) for name, kind in layout.ARRAYS.items()}
        self._columns["offset"].append(0)
        self._columns["label_indptr"].append(0)
        self._ids: list[bytes] = []
        try:
            self._file = open(self._aside, "wb", buffering=BLOCK)  # noqa: SIM115 - closed by __exit__
            self._file.seek(_records_at())
        except OSError as error:
            raise no_room(path, error) from error

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):  # its buffer found no room, which was reported before
            self._file.close()
        self._aside.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._ids)

    def append(self, id: str, picture: Picture, labels: list[tuple[int, int]]) -> None:
        """Adds a record; `labels` are (class, value) pairs, the classes ascending."""
        data, height, width, crc32 = picture
        try:
            self._file.write(data)
        except OSError as error:
            raise no_room(self.path, error) from error
        self.size += len(data)
        columns = self._columns
        columns["offset"].append(self.size)
        columns["crc32"].append(zlib.crc32(data) if crc32 is None else crc32)
        columns["height"].append(height)
        columns["width"].append(width)
        for index, value in labels:
            columns["label_index"].append(index)
            columns["label_value"].append(value)
        columns["label_indptr"].append(len(columns["label_index"]))
        self._ids.append(id.encode("utf-8", "surrogateescape"))

    def finish(self) -> dict:
        """Completes the file, syncs and renames it. Returns its entry for dataset.json."""
        structure, places = self._lay_out()
        at = places[layout.BYTES]["at"]
        try:
            structure.copy_to(self._file, left_out=range(at, at + self.size))
            self._file.flush()
            digest, size = self._sync(), os.fstat(self._file.fileno()).st_size
            os.replace(self._aside, self.path)
            fsync_folder(self.path.parent)
        except OSError as error:
            raise no_room(self.path, error) from error
        return {"file": self.path.name, "records": len(self), "bytes": size, "sha256": digest, "arrays": places}

    def _lay_out(self) -> tuple[SparseFile, dict[str, dict]]:
        """The HDF5 file but for the records, for which it has room, and the place of each array in it."""
        structure, places = SparseFile(), {}
        with h5py.File(structure, "w", driver="fileobj", **ALIGNED) as file:
            at = _make_room(file, self.size)
            if at != _records_at():
                raise RuntimeError(f"libhdf5 {h5py.version.hdf5_version} moves an array to byte {at} by its size")
            file.attrs["format"] = layout.FORMAT
            file.attrs["version"] = layout.VERSION
            file.attrs["encoding"] = self.encoding
            file.attrs["label_default"] = self.label_default
            for name, kind in layout.ARRAYS.items():
                places[name] = _store(file, name, np.asarray(self._columns[name], kind))
            places[layout.IDS] = _store(file, layout.IDS, np.asarray(self._ids, np.bytes_))
            places[layout.BYTES] = {"at": at, "length": self.size}
        return structure, places

    def _sync(self) -> str:
        """Brings the file to the disk; its SHA-256, made while the disk is at work."""
        with ThreadPoolExecutor(1) as other:
            synced = other.submit(os.fsync, self._file.fileno())
            digest = file_sha256(self._aside)
            synced.result()
        return digest


@lru_cache
def _records_at() -> int:
    """Where libhdf5 puts the first array of a file, whatever its size."""
    with h5py.File(SparseFile(), "w", driver="fileobj", **ALIGNED) as file:
        return _make_room(file, 1)


def _make_room(file: h5py.File, size: int) -> int:
    """An array for the records, to which nothing is written; its place in the file."""
    space = h5py.h5s.create_simple((size,))
    return h5py.h5d.create(file.id, layout.BYTES.encode(), h5py.h5t.STD_U8LE, space, _room()).get_offset()


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
    digest, block = hashlib.sha256(), bytearray(BLOCK)
    with open(open_plain(path), "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
    return digest.hexdigest()


def no_room(path: Path, error: OSError) -> UserError:
    """What to tell the user when writing `path` failed."""
    reason = NO_ROOM.get(error.errno, f"writing failed ({error.strerror})")
    return UserError(f"{path}: {reason}; make room and run the same command again: it goes on after the last shard")
