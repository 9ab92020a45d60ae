"""Recipes: a YAML file of the user, or one that comes with the package by its name, such as `cifar10/erm`.

The package's own are read through importlib.resources, so they are found alike in a wheel, in an editable
install and in a checkout.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from fastlt.errors import UserError

SUFFIX = ".yaml"


def list_recipes() -> list[str]:
    """The names of the package's recipes, `<dataset>/<method>`, sorted."""
    root = files("fastlt.configs")
    folders = [entry for entry in root.iterdir() if entry.is_dir()]
    return sorted(
        f"{folder.name}/{entry.name.removesuffix(SUFFIX)}"
        for folder in folders
        for entry in folder.iterdir()
        if entry.name.endswith(SUFFIX)
    )


def recipe(name: str) -> str:
    """The YAML text of a recipe.

    `name` is a file if there is one of that name, otherwise one of `list_recipes()`, with or without `.yaml`.
    Raises UserError if it is neither (the nearest recipe is named) and if the file is not readable text.
    """
    file = Path(name)
    if file.is_file():
        return _read(file)
    known = list_recipes()
    wanted = name.removesuffix(SUFFIX)
    if wanted in known:
        return files("fastlt.configs").joinpath(f"{wanted}{SUFFIX}").read_text(encoding="utf-8")
    raise UserError(f"no recipe {name}: neither a file nor a recipe of the package; {_hint(wanted, known)}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"recipe {file} cannot be read: {reason}") from error


def _hint(wanted: str, known: list[str]) -> str:
    near = get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
