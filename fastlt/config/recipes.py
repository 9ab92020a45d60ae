"""Recipes: YAML files that build on one another, and what `--set` overrides in them."""

from __future__ import annotations

import copy
from pathlib import Path

import yaml

from fastlt.config.check import checked
from fastlt.config.sections import MethodConfig, RunConfig
from fastlt.errors import UserError


def load(recipe: str, overrides: list[str] | None = None) -> tuple[RunConfig, list[str]]:
    """Reads a recipe (a file, or a name such as `cifar10_lt/erm`), applies `--set` overrides and checks it.

    Returns the config and the lines that say what differs from the recipe's parent and what was overridden.
    Raises UserError for a missing file, bad YAML, an unknown key or a value of the wrong kind.
    """
    values, parent = _overridden(recipe, overrides)
    preview(recipe, overrides)
    return checked(values, recipe), changes(parent, values)


def preview(recipe: str, overrides: list[str] | None = None) -> RunConfig:
    """The run but for its method, whose file imports torch: enough to find most mistakes at once."""
    values, _ = _overridden(recipe, overrides)
    return checked(values | {"method": _Unread()}, recipe)


class _Unread(MethodConfig):
    """Stands for a method that is not looked at."""


def _overridden(recipe: str, overrides: list[str] | None) -> tuple[dict, dict]:
    """The values of a run, and those of its recipe's parent."""
    values, parent = _read(recipe, seen=())
    for override in overrides or []:
        _set(values, override)
    return values, parent


def changes(before: dict, after: dict, prefix: str = "") -> list[str]:
    """`train.lr: 0.1 -> 0.2` for every value that differs, in the order of `after`."""
    lines = []
    for name in [*after, *(n for n in before if n not in after)]:
        old, new = before.get(name), after.get(name)
        if isinstance(new, dict) and isinstance(old, dict | None):
            lines += changes(old or {}, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: {'-' if old is None else old} -> {'-' if new is None else new}")
    return lines


def dump(config: RunConfig) -> str:
    """The whole config as YAML that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(recipe: str, seen: tuple[str, ...]) -> tuple[dict, dict]:
    """The values of a recipe with its parents merged in, and the parent's values (its own if it has none)."""
    from fastlt import resources

    if recipe in seen:
        raise UserError(f"recipe {seen[0]} extends itself: {' -> '.join([*seen, recipe])}")
    text = resources.recipe(recipe)
    try:
        own = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise UserError(f"recipe {recipe} is no valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(own, dict):
        raise UserError(
            f"recipe {recipe} holds no mapping of settings; see `fastlt train --list` for some to start from"
        )
    parent_name = own.pop("extends", None)
    if not parent_name:
        return own, copy.deepcopy(own)
    beside = Path(recipe).parent / str(parent_name)
    parent_values, _ = _read(str(beside) if beside.is_file() else str(parent_name), (*seen, recipe))
    return _merge(parent_values, own), parent_values


def _merge(base: dict, top: dict) -> dict:
    merged = dict(base)
    for name, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merge(base[name], value) if both and not _another(name, base[name], value) else value
    return merged


def _another(section: str, base: dict, top: dict) -> bool:
    """Whether `top` names another method or loss, to which the options of `base` mean nothing."""
    return section in ("method", "loss") and "name" in top and top["name"] != base.get("name")


def _set(values: dict, override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UserError(f"--set {override}: write it as section.key=value, such as --set optimizer.lr=0.2")
    *sections, last = name.strip().split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values[section] = dict(values[section])
        values = values[section]
    try:
        values[last] = yaml.safe_load(_scientific(text))
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {text} is no YAML value") from error


def _scientific(text: str) -> str:
    """YAML 1.1 reads 1e-4 as a string; people mean the number."""
    try:
        return repr(float(text)) if "e" in text.lower() else text
    except ValueError:
        return text
