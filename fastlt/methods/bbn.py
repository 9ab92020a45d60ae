"""The bilateral-branch network: Zhou et al., "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed
Visual Recognition", CVPR 2020.

A branch sees a uniform stream, the other a reversed one, in which rare classes come most. Training moves from the
first to the second by alpha = 1 - (T / T_max)^2, T the epoch: their logits are mixed, and so are the losses of their
labels (equations 1 to 3 and 5). With several labels an image the loss is binary cross-entropy, as in Guo & Wang, CVPR
2021.
"""

from __future__ import annotations

from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec, joined
from fastlt.config import LossSection, MethodConfig, StreamConfig, TrainingStream
from fastlt.methods import _parabola
from fastlt.methods.base import Method
from fastlt.models.averaging import mean_logits
from fastlt.models.two_branch import TwoBranch
from fastlt.progress import Progress, TrainingSet


class Options(MethodConfig):
    name: str = "bbn"
    loss: LossSection = "auto"
    reversed: TrainingStream = StreamConfig(sampling="reversed")
    whole_epochs: bool = True  # alpha falls once an epoch, as in the authors' code; false: at every step


class BBN(Method):
    """Shared trunk, last stage and classifier of each branch, one mixed prediction for both labels."""

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        self.streams = {"uniform": StreamSpec(), "reversed": StreamSpec(options.reversed)}
        self.epoch_of = "uniform"
        self.network = TwoBranch(model, list(self.streams))
        self.loss = losses.build(options.loss, data)
        self.whole_epochs = options.whole_epochs

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """alpha E(z, y of uniform) and (1 - alpha) E(z, y of reversed), z = alpha z_uniform + (1 - alpha) z_reversed.

        Image i of one stream is mixed with image i of the other; each passes through its own branch alone.
        """
        shared = self.network.bottom(joined([batch.images[name] for name in self.streams])).chunk(2)
        parts = [branch(part) for branch, part in zip(self.network.branches.values(), shared, strict=True)]
        share = _parabola.falling(progress, self.whole_epochs)
        mixed = share * parts[0] + (1 - share) * parts[1]
        weights = {"uniform": share, "reversed": 1 - share}
        return {name: weight * self.loss(mixed, batch.labels[name], progress) for name, weight in weights.items()}

    def predict(self, images: Tensor) -> Tensor:
        return self.predict_parts(images)[0]

    def predict_parts(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Both branches count half (section 4.4), and each alone."""
        scores = {name: self.loss.scores(value).float() for name, value in self.network(images).items()}
        return mean_logits(scores.values()), scores
