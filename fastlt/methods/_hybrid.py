"""Hybrid networks: a contrastive branch learns features, a classifier on them learns from balanced batches.

Wang et al., "Contrastive Learning based Hybrid Networks for Long-Tailed Image Classification", CVPR 2021, section 3.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec, joined
from fastlt.config import LossSection, MethodConfig, Positive, StreamConfig, TrainingStream
from fastlt.errors import UserError
from fastlt.methods import _parabola
from fastlt.methods.base import Method
from fastlt.models.classifier import features_and_logits
from fastlt.models.projection import Projection, feature_size
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class HybridOptions(MethodConfig):
    """Both streams bring `train.batch` images a step; the contrastive one is uniform."""

    loss: LossSection = "cross_entropy"  # of the classifier
    classifier_stream: TrainingStream = StreamConfig(sampling="class_balanced")
    temperature: Annotated[float, Field(gt=0)] = 0.1
    projection: Positive = 128  # size of what is compared; inferred, as is the hidden layer's
    whole_epochs: bool = True  # alpha falls once an epoch, as published; false: at every step


class Hybrid(Method):
    """alpha L_contrastive + (1 - alpha) L_classifier over one backbone; the classifier alone predicts."""

    views = 1  # of each image in the contrastive stream

    def __init__(self, options: HybridOptions, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        _check_labels(options.name, data)
        self.model = model
        self.projection = Projection(feature_size(model), options.projection)
        self.loss = losses.build(options.loss, data)
        self.temperature = options.temperature
        self.whole_epochs = options.whole_epochs
        self.streams = {
            "contrastive": StreamSpec(StreamConfig(), views=self.views),
            "classifier": StreamSpec(options.classifier_stream),
        }
        self.epoch_of = "contrastive"

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        projected, logits = self._both_branches(batch.images["contrastive"], batch.images["classifier"])
        alpha = _parabola.falling(progress, self.whole_epochs)
        contrastive = self.contrast(projected, batch.labels["contrastive"].repeat(self.views))
        classification = self.loss(logits, batch.labels["classifier"], progress)
        return {"contrastive": alpha * contrastive, "classification": (1 - alpha) * classification}

    @abstractmethod
    def contrast(self, projected: Tensor, labels: Tensor) -> Tensor:
        """The contrastive loss over all ranks' rows, a scalar.

        `projected` [views B, projection], float32 (float64 for float64), view after view; `labels` int64 [views B].
        """

    def predict(self, images: Tensor) -> Tensor:
        return self.loss.scores(self.model(images).float())

    def _both_branches(self, contrastive: Tensor, classifier: Tensor) -> tuple[Tensor, Tensor]:
        """Projections and logits, from one pass through the backbone, so that batch norm sees all images together."""
        views = contrastive.unbind() if self.views > 1 else (contrastive,)
        maps = self.model.forward_features(joined([*views, classifier]))
        features, logits = features_and_logits(self.model, maps, len(maps) - len(classifier))
        projected = self.projection(features)
        return projected.to(wide(projected.dtype)), logits


def _check_labels(name: str, data: TrainingSet) -> None:
    if data.multi_label:
        raise UserError(
            f"method {name} needs one label an image, but this data set has several; use erm or another method that "
            "takes them"
        )
    if len(data.classes) < 2:
        raise UserError(f"method {name} needs at least two classes to tell apart; this data set has one")
