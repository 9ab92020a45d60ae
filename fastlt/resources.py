"""Recipes: a YAML file of the user, or one that comes with the package by its name, such as `cifar10_lt/erm`.

The package's own are read through importlib.resources, so they are found alike in a wheel, in an editable
install and in a checkout.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from fastlt.errors import UserError

RECIPE, SWEEP, FIGURES = ".yaml", ".sweep.yaml", ".figures.yaml"
_CALLED = {RECIPE: "recipe", SWEEP: "sweep", FIGURES: "table of published figures"}


def list_recipes() -> list[str]:
    """The names of the package's recipes, `<dataset>/<method>`, sorted."""
    return _names(RECIPE)


def list_sweeps() -> list[str]:
    """The names of the package's sweeps, `<dataset>/<question>`, sorted."""
    return _names(SWEEP)


def recipe(name: str) -> str:
    """The YAML text of a recipe.

    `name` is a file if there is one of that name, otherwise one of `list_recipes()`, with or without `.yaml`.
    Raises UserError if it is neither (the nearest recipe is named) and if the file is not readable text.
    """
    return _text(name, RECIPE)


def sweep(name: str) -> str:
    """The YAML text of a sweep, found as a recipe is. Raises UserError as for recipes."""
    return _text(name, SWEEP)


def figures(name: str) -> str:
    """The YAML text of a table of published figures, found as a recipe is. Raises UserError as for recipes."""
    return _text(name, FIGURES)


def _names(suffix: str) -> list[str]:
    """Of the package's files `<dataset>/<name><suffix>`; a name has no dot, so that each file is of one kind."""
    folders = [entry for entry in files("fastlt.configs").iterdir() if entry.is_dir()]
    found = ((folder.name, entry.name.partition(".")) for folder in folders for entry in folder.iterdir())
    return sorted(f"{folder}/{stem}" for folder, (stem, dot, rest) in found if dot + rest == suffix)


def _text(name: str, suffix: str) -> str:
    file = Path(name)
    if file.is_file():
        return _read(file)
    known = _names(suffix)
    wanted = name.removesuffix(suffix)
    if wanted in known:
        return files("fastlt.configs").joinpath(f"{wanted}{suffix}").read_text(encoding="utf-8")
    kind = _CALLED[suffix]
    raise UserError(f"no {kind} {name}: neither a file nor a {kind} of the package; {_hint(wanted, known)}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{file} cannot be read: {reason}") from error


def _hint(wanted: str, known: list[str]) -> str:
    near = get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
