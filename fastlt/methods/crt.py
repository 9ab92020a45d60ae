"""cRT: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, section 4.1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec
from fastlt.config import LossSection, MethodConfig, StreamConfig, TrainingStream
from fastlt.errors import UserError
from fastlt.methods.base import Method, OpenRun
from fastlt.models.classifier import classifier_names, linear_classifier, pooled_features
from fastlt.progress import Progress, TrainingSet


class Options(MethodConfig):
    name: str = "crt"
    loss: LossSection = "auto"  # of both stages
    first_share: Annotated[float, Field(gt=0, lt=1)] = 0.9  # of the run, for the first stage
    first_stage: Path | None = None  # folder of a run that was the first stage; this run is then the second alone
    stream: TrainingStream = StreamConfig()  # of the first stage
    second_stream: TrainingStream = StreamConfig(sampling="class_balanced")


class ClassifierRetraining(Method):
    """The whole network is trained first; then its features are kept and a new classifier learns on a balanced stream.

    The second classifier is there from the start and begins to learn at the border, so that nothing happens there
    that a resumed run could miss. In the second stage features come in eval mode, and only it learns.
    """

    idle_parameters = True

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        self.model, self.data, self.first_stage = model, data, options.first_stage
        self.loss = losses.build(options.loss, data)
        self.classifier = _anew(linear_classifier(model, "method crt"))
        self.second_stage = None if options.first_stage else options.first_share
        second_alone = StreamSpec(options.second_stream)
        both = StreamSpec(options.stream, then=options.second_stream)
        self.streams = {"main": second_alone if options.first_stage else both}
        self.epoch_of = "main"
        self.register_buffer("retrained", torch.zeros((), dtype=torch.uint8))  # whether the second stage has begun

    def start_from(self, open_run: OpenRun) -> None:
        """Takes the features of the first stage's run. Raises UserError if its classes or its network are others."""
        if self.first_stage is None:
            return
        run = open_run(self.first_stage)
        if run.data.classes != self.data.classes:
            raise UserError(
                f"method.first_stage={self.first_stage} was trained on {len(run.data.classes)} classes that are not "
                f"the {len(self.data.classes)} of this run; train it on the same data"
            )
        own, before = _features(self.model), _features(_network(run.method, self.first_stage))
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in before.items()}:
            raise UserError(
                f"method.first_stage={self.first_stage} is of {run.config.model.backbone}, another network than this "
                f"run's {open_run.config.model.backbone}; set model.backbone to that"
            )
        self.model.load_state_dict(before, strict=False)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        images, labels = batch.images["main"], batch.labels["main"]
        second = self.second_stage is None or progress.reached(self.second_stage)
        self.model.train(not second)
        if not second:
            return {"loss": self.loss(self.model(images), labels, progress)}
        self.retrained.fill_(1)
        with torch.no_grad():
            features = pooled_features(self.model, images)
        return {"loss": self.loss(self.classifier(features), labels, progress)}

    def predict(self, images: Tensor) -> Tensor:
        features = pooled_features(self.model, images)
        first, second = self.model.get_classifier()(features), self.classifier(features)
        return self.loss.scores(torch.where(self.retrained.bool(), second, first).float())


def _anew(classifier: nn.Linear) -> nn.Linear:
    """A classifier of the same kind and size with initial weights of its own."""
    return type(classifier)(classifier.in_features, classifier.out_features)


def _features(model: nn.Module) -> dict[str, Tensor]:
    """The state of a network without its classifier."""
    classifier = classifier_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in classifier}


def _network(method: Method, folder: Path) -> nn.Module:
    model = getattr(method, "model", None)
    if not isinstance(model, nn.Module):
        raise UserError(f"method.first_stage={folder} has no single network; give a run of erm")
    return model
