"""Files of a small data set, from its folder or out of a tar archive; nothing is ever extracted to disk."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fastlt.errors import UserError


def read_files(root: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Contents by path below the data set's own folder, for every path that is wanted.

    An archive is read once, as a stream. Raises UserError if it is damaged or has a member that a data set has no
    reason to have: a link, a device, a path that leads out of the archive.
    """
    if root.is_dir():
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {name: path.read_bytes() for path in files if wanted(name := path.relative_to(root).as_posix())}
    try:
        with tarfile.open(root, "r|*") as archive:
            return _read_members(archive, root, wanted)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{root} cannot be read as a tar archive ({error}); fetch it again") from error


def _read_members(archive: tarfile.TarFile, root: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    files = {}
    for member in archive:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise UserError(
                f"{root} has the unsafe member {member.name!r}; fetch the data set from where it is published"
            )
        name = "/".join(path.parts[1:])  # below the one folder that the archive holds
        if member.isfile() and wanted(name):
            files[name] = archive.extractfile(member).read()
    return files


def require(files: dict[str, bytes], names: list[str], root: Path, what: str) -> None:
    """Raises UserError naming the first file that is missing."""
    for name in names:
        if name not in files:
            raise UserError(
                f"{root} has no {name}, which {what} consists of; give the data set's own folder or archive"
            )
