"""A hybrid method around a small network in float64, and a batch for it."""

import torch
from torch import nn

from fastlt import methods, plugins
from fastlt.batch import Batch
from fastlt.methods.base import Method
from fastlt.models.batch_norm import RankBatchNorm2d
from fastlt.progress import Progress, TrainingSet

CLASSES = 5
HALFWAY = Progress(step=5, steps=10, epoch=5.0, epochs=10.0)  # alpha is 3/4


class Network(nn.Module):
    """[B, 3, H, W] -> logits, with the interface of the backbones."""

    def __init__(self, classes=CLASSES, features=6):
        super().__init__()
        self.num_features = features
        self.convolution = nn.Conv2d(3, features, 3, padding=1, bias=False)
        self.norm = RankBatchNorm2d(features)
        self.fc = nn.Linear(features, classes)

    def forward_features(self, x):
        return self.norm(self.convolution(x)).relu()

    def forward_head(self, x, pre_logits=False):
        return x.mean((2, 3)) if pre_logits else self.fc(x.mean((2, 3)))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def training_set(classes=CLASSES, multi_label=False):
    names = [f"class {number}" for number in range(classes)]
    return TrainingSet("made", "0", names, [4] * classes, {}, multi_label, 4 * classes)


def made(name, classes=CLASSES, multi_label=False, **options):
    """The method of that name, the same each time."""
    torch.manual_seed(1)
    module = plugins.find(methods, "method.name", name)
    chosen = methods.options(name)(name=name, projection=4, **options)
    data = training_set(classes, multi_label)
    return plugins.defined_in(module, Method)(chosen, Network(classes), data).double()


def batch_of(name, contrastive=8, classifier=6, classes=CLASSES):
    generator = torch.Generator().manual_seed(2)

    def images(*shape):
        return torch.randn(*shape, 3, 4, 4, generator=generator, dtype=torch.float64)

    def labels(count):
        return torch.randint(classes, (count,), generator=generator)

    shown = images(2, contrastive) if name == "hybrid_sc" else images(contrastive)
    return Batch(
        {"contrastive": shown, "classifier": images(classifier)},
        {"contrastive": labels(contrastive), "classifier": labels(classifier)},
        {},
        {},
    )
