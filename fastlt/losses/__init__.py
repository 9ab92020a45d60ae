"""Losses of logits and labels, one file each; to add one, write a file here with its `Options` and one `Loss`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fastlt import plugins
from fastlt.config import LossConfig

if TYPE_CHECKING:
    from fastlt.losses.base import Loss
    from fastlt.progress import TrainingSet

AUTO = "auto"  # by the kind of labels
_PACKAGE = sys.modules[__name__]


def loss_names() -> list[str]:
    return plugins.names(_PACKAGE)


def options(name: str) -> type[LossConfig]:
    """What a recipe may say of a loss beside its name. Raises UserError for an unknown loss."""
    return LossConfig if name == AUTO else plugins.defined_in(plugins.find(_PACKAGE, "method.loss", name), LossConfig)


def build(config: LossConfig, data: TrainingSet) -> Loss:
    """The loss that `config` names. Raises UserError if the data's labels are of another kind."""
    from fastlt.losses.base import Loss

    if config.name == AUTO:
        name = "binary_cross_entropy" if data.multi_label else "cross_entropy"
        config = options(name)(name=name)
    return plugins.defined_in(plugins.find(_PACKAGE, "method.loss", config.name), Loss)(config, data)
