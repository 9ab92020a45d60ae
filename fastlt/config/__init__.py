"""What a run is: one YAML file, checked against this schema before anything is loaded.

`extends:` builds on another recipe, `--set train.lr=0.2` overrides one value. An unknown key is refused with the
nearest right one; what a recipe changes in its parent can be listed (`changes`) and is kept in the run folder.
"""

from fastlt.config.recipes import changes, dump, load, preview
from fastlt.config.sections import (
    ColorJitter,
    DataConfig,
    Fraction,
    LossConfig,
    LossSection,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    PipelineConfig,
    Positive,
    RandAugment,
    RunConfig,
    ScheduleConfig,
    Section,
    StreamConfig,
    TrainConfig,
    TrainingStream,
)

__all__ = [
    "ColorJitter",
    "DataConfig",
    "Fraction",
    "LossConfig",
    "LossSection",
    "MethodConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PipelineConfig",
    "Positive",
    "RandAugment",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "StreamConfig",
    "TrainConfig",
    "TrainingStream",
    "changes",
    "dump",
    "load",
    "preview",
]
