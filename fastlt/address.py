"""Where a data set lies: a folder of this machine, or an address that fsspec reads, such as s3://bucket/set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastlt.errors import UserError

HERE = ("file", "local")  # fsspec's names for this machine's own files


@dataclass(frozen=True)
class Address:
    """PROTOCOL://..., as far as it is used like a path. Raises UserError for one to which no file name can be added."""

    text: str

    def __post_init__(self) -> None:
        if any(mark in self.text for mark in "?#\0\n"):
            raise UserError(f"{self.text!r}: an address of a data set has no query; give that of its folder alone")
        if not self.text.partition("://")[2]:
            raise UserError(f"{self.text!r} names no place; give an address such as s3://bucket/set")

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.text.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.text

    @property
    def protocol(self) -> str:
        return self.text.partition("://")[0]

    @property
    def name(self) -> str:
        return self.text.rstrip("/").rpartition("/")[2]

    def resolve(self) -> Address:
        """Itself: two names of one place are not told from two places."""
        return self

    def exists(self) -> bool:
        """Whether a file with something in it is there. Raises UserError if nobody can tell."""
        from fastlt.data.remote import transport

        try:
            transport.read(self, 0, 1, pauses=transport.AT_FIRST)
        except FileNotFoundError:
            return False
        return True


def located(text: str | Path | Address) -> Path | Address:
    """The folder or the address that `text` names."""
    if isinstance(text, Address):
        return text
    protocol, found, rest = str(text).partition("://")
    if not found:
        return Path(text)
    return Path(rest) if protocol in HERE else Address(f"{protocol}://{rest.rstrip('/')}")
