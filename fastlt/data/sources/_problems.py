"""What a source found wrong in the annotations, in little memory however much that is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

IN_MEMORY = 1 << 20  # bytes; what is more lies in a temporary file


class Problems:
    """(place, what was done about it) of each problem, in the order in which they were found."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  it lives as long as this
        self._size = 0

    def append(self, problem: tuple[str, str]) -> None:
        """Texts of one line, as they stand in messages."""
        place, reason = (part.replace("\t", " ").replace("\n", " ") for part in problem)
        self._file.seek(0, 2)
        self._file.write(f"{place}\t{reason}\n".encode("utf-8", "surrogateescape"))
        self._size += 1

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self._file.seek(0)
        for line in self._file:
            place, _, reason = line.decode("utf-8", "surrogateescape").rstrip("\n").partition("\t")
            yield place, reason
