"""Training methods, one file each; to add one, write a file here with one `Method` in it, and a recipe."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastlt import hashing
from fastlt.config import RunConfig
from fastlt.errors import UserError

if TYPE_CHECKING:
    import torch

    from fastlt.methods.base import Method, TrainingSet


def method_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def build(config: RunConfig, data: TrainingSet, device: torch.device, report: Callable[[str], None]) -> Method:
    """The method that `config.method.name` names around its backbone, on `device`, channels-last.

    The initial weights depend on `config.seed` alone; `report` is told which were loaded.
    Raises UserError for an unknown method.
    """
    import torch

    from fastlt.models import backbones

    kind = _find(config.method.name)
    torch.manual_seed(hashing.key(config.seed, "init") >> 1)
    model = backbones.create(config.model, len(data.classes), report)
    return kind(config.method, model, data).to(device, memory_format=torch.channels_last)


def _find(name: str) -> type[Method]:
    """The one `Method` that the file `name` defines."""
    from fastlt.methods.base import Method

    if name not in method_names():
        near = difflib.get_close_matches(name, method_names(), 1) or method_names()
        raise UserError(f"method.name {name} is unknown; did you mean {near[0]}?")
    module = importlib.import_module(f"fastlt.methods.{name}")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Method) and kind.__module__ == module.__name__
    )
