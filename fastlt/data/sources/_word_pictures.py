"""Where the pictures are that a list names, perhaps without their extension, in a folder or an archive."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from fastlt.data.sources._inside import Inside, check_name
from fastlt.data.sources.folder import EXTENSIONS
from fastlt.errors import UserError

_TRIED = [e for extension in EXTENSIONS for e in (extension, extension.upper())]


class WordPictures:
    """`files` holds an archive's content; None if `root` is a folder."""

    def __init__(self, root: Path, files: dict[str, bytes] | None, images: str, extension: str | None):
        for option, value in (("images", images), ("extension", extension)):
            if value is not None and not isinstance(value, str):
                raise UserError(f"option {option} is {value!r}; give it as text")
        self._folder = images or "."
        check_name(self._folder, "option images")
        if files is None and not os.path.isdir(root / self._folder):
            raise UserError(f"{root / self._folder} is no folder; name that of the pictures as option images")
        self._extension = extension if extension is None or extension.startswith(".") else f".{extension}"
        self._root, self._files, self._inside = root, files, Inside(root)
        self._tried = list(_TRIED)

    def find(self, name: str, place: str) -> str:
        """The picture's path below the root. Raises UserError that begins with `place` if the name leads out of it."""
        path = posixpath.normpath(f"{self._folder}/{check_name(name, place)}")
        if self._extension is not None:
            return path if path.lower().endswith(self._extension.lower()) else path + self._extension
        if self._has(path):
            return path
        for extension in self._tried:
            if self._has(path + extension):
                self._tried.remove(extension)
                self._tried.insert(0, extension)  # so that the next picture is found at once
                return path + extension
        return path  # the build will list it as unreadable

    def image(self, path: str) -> bytes | Path:
        if self._files is not None:
            return self._files.get(path, b"")
        return self._inside.path(path, str(self._root))

    def _has(self, path: str) -> bool:
        return (self._root / path).is_file() if self._files is None else path in self._files
