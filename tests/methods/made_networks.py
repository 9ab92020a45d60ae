"""Networks and training sets small enough to be looked through."""

import torch
from torch import Tensor, nn

from fastlt.batch import Batch
from fastlt.progress import Progress, TrainingSet

COUNTS = [20, 6, 2]
DATA = TrainingSet("made", "0", ["a", "b", "c"], COUNTS, {}, multi_label=False, images=sum(COUNTS))


class SmallNetwork(nn.Module):
    """[B, 3, H, W] -> [B, 3] with a batch norm, and the interface that methods ask of a backbone."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc


def batch_of(size: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 5, 5, generator=generator)
    return Batch({"main": images}, {"main": torch.randint(3, (size,), generator=generator)}, {}, {})


def at(step: int, steps: int = 10) -> Progress:
    return Progress(step, steps, float(step), float(steps))
