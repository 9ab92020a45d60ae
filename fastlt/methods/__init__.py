"""Training methods, one file each. To add one: a file here with a `Method`, a line in METHODS, and a recipe."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastlt import hashing
from fastlt.config import RunConfig
from fastlt.errors import UserError

if TYPE_CHECKING:
    import torch

    from fastlt.methods.base import Method, TrainingSet

METHODS = {"erm": "erm:ERM"}


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
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1) or list(METHODS)
        raise UserError(f"method.name {name} is unknown; did you mean {near[0]}?")
    module, _, kind = METHODS[name].partition(":")
    return getattr(importlib.import_module(f"fastlt.methods.{module}"), kind)
