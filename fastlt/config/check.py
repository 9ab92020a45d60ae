"""The values of a recipe against the schema; what is wrong is said in one line."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from fastlt.config.sections import MethodConfig, RunConfig
from fastlt.errors import UserError


def checked(values: dict, recipe: str) -> RunConfig:
    """Raises UserError that names the wrong key or value, and for a key the nearest right one."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {recipe}: {_explain(error.errors()[0], values)}") from error


def _explain(problem: dict[str, Any], values: dict) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place}; {_nearest(problem['loc'], values)}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    if problem["type"] == "missing":
        return f"{place} is missing; give it with --set {place}=..."
    return f"{place} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _nearest(location: tuple, values: dict) -> str:
    """The right key nearest to a wrong one: in its own section, else the same name anywhere."""
    known = _known_keys(location[0], values)
    wrong = ".".join(str(part) for part in location)
    section = wrong.rpartition(".")[0]
    beside = [name for name in known if name.rpartition(".")[0] == section]
    elsewhere = [name for name in known if name.rpartition(".")[2] == location[-1]]
    near = elsewhere[:1] or difflib.get_close_matches(wrong, beside, 1, 0.6)
    near = near or difflib.get_close_matches(wrong, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(beside) or ', '.join(known[:8])}"


def _known_keys(section: str, values: dict) -> list[str]:
    """Every key of a run; of its method and loss too, where the wrong one stands there."""
    known = key_names(RunConfig)
    if section != "method":
        return known
    from fastlt import losses, methods

    method = values["method"]
    loss = method.get("loss")
    own = key_names(methods.options(method.get("name", MethodConfig().name)), "method.")
    if isinstance(loss, dict):
        own += key_names(losses.options(loss.get("name", losses.AUTO)), "method.loss.")
    return own + known


def key_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a section and the sections inside it."""
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += key_names(kind, f"{prefix}{name}.")
    return names
