"""Unpickling what a stranger published, with an allow-list: numpy arrays, their dtypes, and text as Latin-1."""

from __future__ import annotations

import codecs
import io
import pickle

import numpy as np

from fastlt.errors import UserError


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
    return codecs.encode(text, "latin1")


# One function by its name in numpy 1 and numpy 2. Reached through the array's own reduction, as the core is private.
_reconstruct = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load(data: bytes, place: str) -> dict[str, object]:
    """The dict that `data` pickles, keys as text. Raises UserError, naming `place`, for anything beyond the list."""
    try:
        value = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        return {key.decode() if isinstance(key, bytes) else key: entry for key, entry in value.items()}
    except Exception as error:  # a hostile or damaged pickle can raise anything
        raise UserError(
            f"{place} is refused: {error or type(error).__name__}; fetch it from where it is published"
        ) from error
