"""Training methods, one file each; to add one, write a file here with its `Options` and one `Method`, and a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastlt import hashing, plugins
from fastlt.config import MethodConfig, RunConfig

if TYPE_CHECKING:
    import torch

    from fastlt.methods.base import Method
    from fastlt.progress import TrainingSet

_PACKAGE = sys.modules[__name__]


def method_names() -> list[str]:
    return plugins.names(_PACKAGE)


def options(name: str) -> type[MethodConfig]:
    """What a recipe may say in `method` beside the name. Raises UserError for an unknown method."""
    return plugins.defined_in(plugins.find(_PACKAGE, "method.name", name), MethodConfig)


def kind(name: str) -> type[Method]:
    """The method itself. Raises UserError for an unknown one."""
    from fastlt.methods.base import Method

    return plugins.defined_in(plugins.find(_PACKAGE, "method.name", name), Method)


def build(config: RunConfig, data: TrainingSet, device: torch.device, report: Callable[[str], None]) -> Method:
    """The method that `config.method.name` names around its backbone, on `device`, channels-last.

    The initial weights depend on `config.seed` alone; `report` is told which were loaded, and the method's notices.
    Raises UserError for an unknown method.
    """
    import torch

    from fastlt.models import backbones

    chosen = kind(config.method.name)
    torch.manual_seed(hashing.key(config.seed, "init") >> 1)
    model = backbones.create(config.model, len(data.classes), report)
    method = chosen(config.method, model, data)
    for line in method.notices():
        report(f"note: {line}")
    return method.to(device, memory_format=torch.channels_last)
