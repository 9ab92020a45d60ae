"""What is finished of one split: it lets a killed build go on, and becomes dataset.json at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastlt.data import manifest
from fastlt.data.folder_lock import FolderLock
from fastlt.data.shard_writer import file_sha256, no_room
from fastlt.errors import UserError


class Journal:
    """Kept in build.json after every shard; `done` counts the planned images that are stored or known to be bad."""

    def __init__(self, folder: Path, fingerprint: str):
        self.folder, self.fingerprint = folder, fingerprint
        self.shards: list[dict] = []
        self.bad: list[list[str]] = []  # id, reason
        self.counts: list[int] = []
        self.done = 0
        self.complete = False
        self._lock: FolderLock | None = None

    def claim(self, overwrite: bool) -> None:
        """Takes the folder: goes on with the same build, or begins a new one, as `overwrite` always does.

        Raises UserError if another build is at work in it, if it holds another build or the same one damaged, and if
        it cannot be made.
        """
        self._make_folder()
        self._lock = FolderLock(self.folder)
        found = None if overwrite else self._found()
        if found is not None and found["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{self.folder} holds another build (other data or settings); choose another or overwrite it"
            )
        if found is not None:
            self.shards, self.bad = found["shards"], found["bad"]
            self.counts, self.done = found["counts"], found["done"]
            self.complete = (self.folder / manifest.NAME).exists()
            self._check_shards()
        _remove(self.folder, {shard["file"] for shard in self.shards}, everything=found is None)
        if found is None:
            self._save()
        elif self.complete:  # killed between its last two steps
            (self.folder / manifest.JOURNAL).unlink(missing_ok=True)

    def is_of_another_build(self) -> bool:
        """Whether the folder holds a build of other data or settings, or one that cannot be read."""
        try:
            found = self._found()
        except UserError:
            return True
        return found is not None and found["fingerprint"] != self.fingerprint

    def release(self) -> None:
        """Lets other builds have the folder; it keeps what is in it."""
        if self._lock is not None:
            self._lock.release()

    def add(self, shard: dict | None, done: int, counts: list[int], bad: list[list[str]]) -> None:
        """Notes a finished shard (None: only bad images came) and what it holds."""
        self.shards += [shard] if shard else []
        self.bad += bad
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)] if self.counts else counts
        self.done = done
        self._save()

    def complete_with(self, values: dict) -> None:
        """Writes dataset.json, the last file of the split."""
        values = {**values, "bad": self.bad, "shards": self.shards, "done": self.done, "fingerprint": self.fingerprint}
        self._write(manifest.NAME, values)
        (self.folder / manifest.JOURNAL).unlink(missing_ok=True)
        self.complete = True

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder} cannot be made: {error.strerror}; choose another folder") from error

    def _found(self) -> dict | None:
        if (self.folder / manifest.NAME).exists():
            return manifest.read_manifest(self.folder)
        if (self.folder / manifest.JOURNAL).exists():
            return manifest.read_journal(self.folder)
        return None

    def _check_shards(self) -> None:
        for shard in self.shards:
            path = self.folder / shard["file"]
            try:
                same = file_sha256(path) == shard["sha256"]
            except OSError:
                same = False
            if not same:
                raise UserError(f"{path} is missing or was changed since it was built; overwrite the build")

    def _save(self) -> None:
        values = {"shards": self.shards, "bad": self.bad, "counts": self.counts, "done": self.done}
        self._write(manifest.JOURNAL, {**values, "fingerprint": self.fingerprint})

    def _write(self, name: str, values: dict) -> None:
        try:
            manifest.write_json(self.folder / name, manifest.seal(values))
        except OSError as error:
            raise no_room(self.folder / name, error) from error


@contextmanager
def claimed(journals: list[Journal], overwrite: bool) -> Iterator[None]:
    """Holds the folders of all splits of a build, so that a second build on one of them ends before it harms any."""
    with ExitStack() as held:
        for journal in journals:
            held.callback(journal.release)
            journal.claim(overwrite)
        yield


def discard(folder: Path) -> None:
    """Removes the shard set in a folder, finished or not. Raises UserError if a build is at work in it."""
    lock = FolderLock(folder)
    try:
        _remove(folder, set(), everything=True)
    finally:
        lock.release()


def _remove(folder: Path, kept: set[str], everything: bool) -> None:
    """Removes the shards that are not kept and what a killed build began; `everything`: the manifests as well."""
    for name in (manifest.NAME, manifest.JOURNAL) if everything else ():
        (folder / name).unlink(missing_ok=True)
    for path in manifest.shard_files(folder):
        if path.name not in kept:
            path.unlink()
