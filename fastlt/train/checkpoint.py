"""Checkpoints: written aside and renamed, and refused with a reason when they are not what they should be."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from fastlt.errors import UserError
from fastlt.files import write_atomically

_FORMAT, _VERSION = "fastlt-checkpoint", 1
_MEND = "resume from the run's other checkpoint, or train again"


def save(path: Path, state: dict) -> None:
    """Writes `state` (tensors, numbers, strings, None, lists and dicts of them) so that `load` gives it back.

    Raises UserError if the disk does not take it; an earlier checkpoint at `path` is then still there.
    """
    content = {"format": _FORMAT, "version": _VERSION, "state": state}
    write_atomically(path, lambda file: _write(content, file))


def _write(content: dict, file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:  # torch's writer hides what the disk said behind an error of its own
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load(path: Path) -> dict:
    """The state that `save` wrote, on the CPU; nothing in the file is executed, every checksum is compared.

    Raises UserError for a file that is missing, damaged, or no checkpoint of fastlt.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {path}; train with a smaller train.checkpoint_every or give another run")
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"{path} is no fastlt checkpoint; to start from its weights set model.init={path}")
    if content["version"] != _VERSION:
        raise UserError(f"{path} has checkpoint version {content['version']}, this fastlt reads {_VERSION}")
    return content["state"]


def _read(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()  # torch.load compares no checksum
        if bad is not None:
            raise UserError(f"checkpoint {path} is damaged at {bad}; {_MEND}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds Python objects, which are refused: no fastlt checkpoint") from error
    except (zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        raise UserError(f"checkpoint {path} is damaged or no checkpoint; {_MEND}") from error


def check_matches(saved: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Raises UserError naming the first tensor in which a checkpoint's model differs from the recipe's."""
    for name in [*own, *(name for name in saved if name not in own)]:
        there, here = _shape(saved, name), _shape(own, name)
        if there != here:
            raise UserError(
                f"checkpoint {path} is of another model: {name} is {there} there and {here} here; "
                "use the recipe it was trained with"
            )


def _shape(tensors: dict[str, Tensor], name: str) -> str:
    return str(list(tensors[name].shape)) if name in tensors else "missing"
