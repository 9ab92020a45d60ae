"""Training pictures that could not be shown, over all ranks: counted, limited, listed in the run's bad-images.txt."""

from __future__ import annotations

from collections.abc import Callable

from fastlt import distributed
from fastlt.data.shards import ShardSet
from fastlt.files import disk_errors, write_text
from fastlt.replacement import Replacement
from fastlt.train.run_folder import RunFolder


class BadImages:
    """`known`: their indices in `train` when all ranks last said theirs, ascending."""

    def __init__(
        self, replacement: Replacement, records: ShardSet, folder: RunFolder, is_first: bool, say: Callable[[str], None]
    ) -> None:
        self.replacement, self.records, self.folder = replacement, records, folder
        self.is_first, self.say = is_first, say
        self.known: list[int] = []
        self._listed: list[int] | None = None

    def gather(self) -> list[int]:
        """Those of all ranks, which all call this at the same step. Raises UserError past data.max_bad_images."""
        found = {image: reason for part in distributed.gather(self._own()) for image, reason in part.items()}
        self.known = sorted(found)
        if self.is_first and self.known != self._listed:
            self._list(found)
        self.replacement.check_limit(set(found), set())
        return self.known

    def list_own(self) -> None:
        """Where the run ends for them: without a word to the other ranks, which may be elsewhere."""
        if self.is_first and (found := self._own()):
            self.known = sorted({*self.known, *found})
            self._list({image: self.replacement.reason(image) for image in self.known})

    def _own(self) -> dict[int, str]:
        return {image: self.replacement.reason(image) for image in self.replacement.bad.copy()}

    def _list(self, found: dict[int, str]) -> None:
        path, self._listed = self.folder.bad_images, self.known
        if not found:
            with disk_errors(path):
                path.unlink(missing_ok=True)
            return
        ids = self.records.ids(self.known)
        write_text(path, "".join(f"{id}\t{found[i]}\n" for i, id in zip(self.known, ids, strict=True)))
        self.say(f"training pictures that cannot be shown, so far: {len(found)}; {path} lists them")
