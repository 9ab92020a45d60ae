"""One file for each format of labelled pictures.

How to add a source: write `fastlt/data/sources/NAME.py` with a class `Source(root, **options)` that has the members
of `fastlt.data.item.Source`. Its `items(split)` yields an `Item` for each picture, in the same order every time, and
does not read files that it can name: give their `Path`, so that they are read and decoded in parallel. Raise
`UserError` for what the user can mend. No other file changes; modules that begin with `_` are helpers, not sources.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from fastlt.address import Address, located
from fastlt.errors import UserError

if TYPE_CHECKING:
    from fastlt.data.item import Source


def source_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def open_source(name: str, root: str | Path | Address | None = None, **options) -> Source:
    """The source `name` over the folder, archive or address `root` (`digits` needs none).

    Raises UserError for an unknown name or option and for a root that is missing or holds something else.
    """
    if name not in source_names():
        near = difflib.get_close_matches(name, source_names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(source_names())}"
        raise UserError(f"unknown source {name!r}; {hint}")
    kind = importlib.import_module(f"fastlt.data.sources.{name}").Source
    known = [option for option in inspect.signature(kind).parameters if option != "root"]
    for option in options:
        if option not in known:
            raise UserError(f"source {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
    needs_root = "root" in inspect.signature(kind).parameters
    if not needs_root:
        return kind(**options)
    if root is None:
        raise UserError(f"source {name} needs the folder or archive that holds its data; name it with --root")
    root = located(root)
    if isinstance(root, Address):
        if name != "shards":
            raise UserError(f"source {name} reads files of this machine, not {root}; copy them here first")
    elif not root.exists():
        raise UserError(f"{root} does not exist; give the folder or archive that source {name} reads")
    return kind(root, **options)
