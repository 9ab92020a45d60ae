"""Kinds of things of which each is one file of a package: methods, losses. A recipe names the file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

from fastlt.errors import UserError

T = TypeVar("T")


def names(package: ModuleType, besides: tuple[str, ...] = ("base",)) -> list[str]:
    """The files of `package` that a recipe may name; helpers begin with _."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if name not in besides and not name.startswith("_"))


def find(package: ModuleType, key: str, name: str) -> ModuleType:
    """The file `name` of `package`. Raises UserError with the nearest right name; `key` is what the recipe calls it."""
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise UserError(f"{key} {name} is unknown; {hint}")
    return importlib.import_module(f"{package.__name__}.{name}")


def defined_in(module: ModuleType, kind: type[T]) -> type[T]:
    """The one subclass of `kind` that a file defines."""
    own = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__)
    return next(value for value in own if issubclass(value, kind))
