"""Reads a shard set: a batch of records by plain reads at their places, without HDF5 and without a lock."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastlt.address import Address, located
from fastlt.data import layout
from fastlt.data.joined_arrays import joined_arrays
from fastlt.data.labels import Empty, LabelRows
from fastlt.data.local_files import LocalFiles
from fastlt.data.manifest import MEND, read_manifest
from fastlt.data.records import RecordBatch, crc32, split
from fastlt.data.remote.files import RemoteFiles, WrongRecord
from fastlt.errors import UserError

BLOCK = 8 << 20  # bytes of ids read at a time
Share = Callable[[Callable[[Empty], dict[str, np.ndarray]]], dict[str, np.ndarray]]
LONGEST_SIDE = (1 << 31) - 1  # pixels; the bytes of a raw picture with two such sides still fit into 64 bits


class ShardSet:
    """One split on disk, or at an address, open for reading by any number of threads; on disk it may be forked.

    All that is kept of an image is 28 bytes, 5 a label, and one bit. Opening checks the manifest, the file sizes, that
    no array leads outside another and, with `check_sums`, the sums of all index and label arrays; then every record's
    crc32 is checked the first time that it is read, and that of a shard's ids. Files are not trusted: whoever wrote
    them, nothing outside the folder is read and no more memory is taken than they are long. Raises UserError with the
    file, the place and what to do. `values`: a manifest that was read before, or a part of one. `share`: keeps the
    arrays, and the class lists, for several processes (shared_arrays.one_copy_a_host).
    """

    def __init__(
        self,
        folder: str | Path | Address,
        check_sums: bool = True,
        values: dict | None = None,
        share: Share | None = None,
    ):
        self.folder = located(folder)
        self.manifest = read_manifest(self.folder) if values is None else values
        self.classes: list[str] = self.manifest["classes"]
        self.multi_label: bool = self.manifest["multi_label"]
        self.encoding: str = self.manifest["encoding"]
        self.counts = np.asarray(self.manifest["counts"], np.int64)
        self.training_counts = np.asarray(self.manifest["training_counts"], np.int64)
        self.groups = {name: (low, high) for name, (low, high) in self.manifest["groups"].items()}
        self.attributes: dict[str, list[int]] = self.manifest.get("attributes", {})
        self._check_sums = check_sums
        self._shards: list[dict] = self.manifest["shards"]
        self.is_remote = isinstance(self.folder, Address)
        self._files = (
            RemoteFiles(self.folder, self.manifest) if self.is_remote else LocalFiles(self.folder, self._shards)
        )
        self._first = np.cumsum([0] + [shard["records"] for shard in self._shards])  # row of each shard's first record
        try:
            self._read_index(share)
        except MemoryError:
            raise UserError(f"the index of {self.folder} does not fit into memory; {MEND}") from None
        self._ids_checked: set[int] = set()  # shards
        self._seen = np.zeros((len(self) + 7) // 8, np.uint8)  # one bit a record whose crc32 was checked

    def __len__(self) -> int:
        return int(self._first[-1])

    def __enter__(self) -> ShardSet:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; reading opens them again."""
        self._files.close()

    def read(self, indices: np.ndarray) -> RecordBatch:
        """Records of int64 [B]: uint8 [bytes] each when encoded, not writable; uint8 [H, W, 3] each when raw, as one
        array [B, H, W, 3] of the caller's own where they are of one size.

        Raises UserError for a record that is damaged, IndexError outside 0..len - 1.
        """
        rows = self._rows(indices)
        shard, start, size = self._places(rows)
        try:
            data = self._files.fetch(shard, start, size, self._crc32[rows])
        except WrongRecord as wrong:
            raise UserError(self.damage(int(rows[wrong.args[0]]))) from None
        if self._check_sums:
            self._check_records(rows, data, size)
        if self.encoding == "raw":
            return _raw_pictures(data, self._shape[rows])
        data.flags.writeable = False
        return split(data, size)

    def expect(self, indices: np.ndarray) -> None:
        """Announces that `read` will be called with the same, so that a remote set can be fetched ahead of it."""
        if self.is_remote:
            rows = self._rows(indices)
            self._files.expect(*self._places(rows), self._crc32[rows])

    def forget_expected(self) -> None:
        """What was announced will not be read."""
        if self.is_remote:
            self._files.forget_expected()

    def shapes(self, indices: np.ndarray) -> np.ndarray:
        """int32 [B, 2]: height and width in pixels, after EXIF orientation."""
        return self._shape[self._rows(indices)]

    def sums(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """crc32 (uint32 [B]) and bytes (int64 [B]) of each record."""
        rows = self._rows(indices)
        shard = self._shard_of(rows)
        return self._crc32[rows], self._offset[rows + shard + 1] - self._offset[rows + shard]

    def labels(self, indices: np.ndarray) -> np.ndarray:
        """int64 [B] when single-label, else int8 [B, C] in {1, 0, -1}; -1 is unknown."""
        rows = self._rows(indices)
        return self._labels.dense(rows) if self.multi_label else self._labels.single(rows)

    @property
    def label_rows(self) -> LabelRows:
        """The labels of all images, compressed."""
        return self._labels

    def class_members(self) -> tuple[np.ndarray, np.ndarray]:
        """For every class its positive images, ascending: (indptr int64 [C + 1], index [nnz])."""
        if self._members is None:
            self._members = self._labels.members()
        return self._members

    def ids(self, indices: np.ndarray) -> list[str]:
        """Raises UserError if the ids of a shard are damaged."""
        rows = self._rows(indices)
        shards = self._shard_of(rows)
        if self._check_sums:
            self._check_ids(set(shards.tolist()) - self._ids_checked)
        places = [self._shards[s]["arrays"][layout.IDS] for s in shards.tolist()]
        at, width = (np.array([place[name] for place in places], np.int64) for name in ("at", "width"))
        data = self._files.fetch(shards, at + width * (rows - self._first[shards]), width)
        return [name.tobytes().rstrip(b"\0").decode("utf-8", "surrogateescape") for name in split(data, width)]

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        rows = np.asarray(indices, np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"image {rows.min()}..{rows.max()} asked of {self.folder}, which has {len(self)}")
        return rows

    def _shard_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first, rows, side="right") - 1

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [B] each: shard, first byte and size of each record."""
        shard = self._shard_of(rows)
        start = self._offset[rows + shard]
        return shard, start, self._offset[rows + shard + 1] - start

    def _check_ids(self, shards: set[int]) -> None:
        for shard in shards:
            place, crc = self._shards[shard]["arrays"][layout.IDS], 0
            end = place["at"] + place["length"] * place["width"]
            for start in range(place["at"], end, BLOCK):
                part = np.array([[shard], [start], [min(BLOCK, end - start)]])
                crc = zlib.crc32(self._files.fetch(*part), crc)
            if crc != place["crc32"]:
                raise UserError(_damaged_array(self.folder / self._shards[shard]["file"], layout.IDS, place))
            self._ids_checked.add(shard)

    def _check_records(self, rows: np.ndarray, data: np.ndarray, size: np.ndarray) -> None:
        byte, bit = rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8)
        new = np.flatnonzero((self._seen[byte] & bit) == 0)
        if not new.size:
            return
        end = np.cumsum(size)[new]
        wrong = crc32(data, end - size[new], end) != self._crc32[rows[new]]
        if wrong.any():
            raise UserError(self.damage(int(rows[new[np.argmax(wrong)]])))
        np.bitwise_or.at(self._seen, byte, bit)

    def check_again(self) -> None:
        """Checks the crc32 of every record anew when it is read next."""
        self._seen[:] = 0

    def damage(self, row: int) -> str:
        """Says which record is damaged, and where."""
        shard = int(self._shard_of(np.asarray(row)))
        name, at = self._shards[shard]["file"], int(self._offset[row + shard])
        return (
            f"{self.folder / name}: record {row - self._first[shard]} ({self._id(row)}) at byte {at} is damaged; {MEND}"
        )

    def _id(self, row: int) -> str:
        """For a message."""
        try:
            (id,) = self.ids([row])
        except UserError:
            return "its id as well"
        return id if id.isprintable() else ascii(id)

    def _read_index(self, share: Share | None) -> None:
        joined = share(self._join_with_members) if share else joined_arrays(self._shards, self._read_arrays)
        self._offset, self._crc32, self._shape = joined["offset"], joined["crc32"], joined["shape"].reshape(-1, 2)
        self._labels = self._label_rows(joined)
        self._members = (joined["member_indptr"], joined["member"]) if share else None

    def _label_rows(self, joined: dict[str, np.ndarray]) -> LabelRows:
        return LabelRows(
            joined["label_indptr"], joined["label_index"], joined["label_value"],
            len(self.classes), self.manifest["label_default"],
        )  # fmt: skip

    def _join_with_members(self, empty: Empty) -> dict[str, np.ndarray]:
        joined = joined_arrays(self._shards, self._read_arrays, empty)
        indptr, member = self._label_rows(joined).members(empty)
        return joined | {"member_indptr": indptr, "member": member}

    def _read_arrays(self, number: int) -> dict[str, np.ndarray]:
        """The small arrays of one shard, checked."""
        shard = self._shards[number]
        path = self.folder / shard["file"]
        handle = self._files.open_index(number)
        try:
            arrays = {name: self._read_array(handle, path, shard, name) for name in layout.ARRAYS}
        finally:
            os.close(handle)
        self._check_arrays(path, shard, arrays)
        return arrays

    def _read_array(self, handle: int, path: Path | Address, shard: dict, name: str) -> np.ndarray:
        place, kind = shard["arrays"][name], np.dtype(layout.ARRAYS[name])
        data = os.pread(handle, place["length"] * kind.itemsize, place["at"])
        damaged = self._check_sums and zlib.crc32(data) != place["crc32"]
        if damaged or len(data) != place["length"] * kind.itemsize:
            raise UserError(_damaged_array(path, name, place))
        return np.frombuffer(data, kind)

    def _check_arrays(self, path: Path | Address, shard: dict, arrays: dict[str, np.ndarray]) -> None:
        """Holds even for a file whose sums were forged: no array leads outside another."""
        records, stored = shard["records"], shard["arrays"][layout.BYTES]["length"]
        fits = _rises(arrays["offset"], records, stored)
        fits = fits and _rises(arrays["label_indptr"], records, len(arrays["label_index"]))
        fits = fits and self._labels_make_sense(arrays)
        fits = fits and all(_all_between(arrays[name], 1, LONGEST_SIDE) for name in ("height", "width"))
        if fits and self.encoding == "raw":
            pixels = arrays["height"].astype(np.uint64) * arrays["width"]
            fits = bool((np.diff(arrays["offset"]) == 3 * pixels).all())
        if not fits:
            raise UserError(f"{path}: its arrays do not fit together, so `fastlt build` did not write it; {MEND}")

    def _labels_make_sense(self, arrays: dict[str, np.ndarray]) -> bool:
        """The classes of an image exist, ascend, and have known values; one of them, positive, if single-label."""
        indptr, index, value = arrays["label_indptr"], arrays["label_index"], arrays["label_value"]
        if not _all_between(value, -1, 1) or not _all_between(index, 0, len(self.classes) - 1):
            return False
        if not self.multi_label:
            return len(index) == len(indptr) - 1 and bool((np.diff(indptr) == 1).all() and (value == 1).all())
        ascends = np.ones(len(index) + 1, bool)
        np.greater(index[1:], index[:-1], out=ascends[1:-1])
        ascends[indptr] = True  # from the last class of an image to the first of the next
        return bool(ascends.all())


def _raw_pictures(data: np.ndarray, shapes: np.ndarray) -> RecordBatch:
    """uint8 [H, W, 3] each, side by side in `data`; shapes: int32 [B, 2]."""
    if len(shapes) and (shapes == shapes[0]).all():
        return data.reshape(-1, *shapes[0], 3)
    data.flags.writeable = False
    pictures = split(data, 3 * shapes.prod(axis=1, dtype=np.int64))
    return [picture.reshape(h, w, 3) for picture, (h, w) in zip(pictures, shapes.tolist(), strict=True)]


def _damaged_array(path: Path | Address, name: str, place: dict) -> str:
    return f"{path}: array {name!r} at byte {place['at']} is damaged; {MEND}"


def _all_between(values: np.ndarray, low: int, high: int) -> bool:
    return len(values) == 0 or bool(values.min() >= low and values.max() <= high)


def _rises(values: np.ndarray, count: int, end: int) -> bool:
    """Whether `values` are `count` + 1 bounds that go from 0 to `end` and never fall."""
    ends = len(values) == count + 1 and values[0] == 0 and values[-1] == end
    return bool(ends and (values[1:] >= values[:-1]).all())
