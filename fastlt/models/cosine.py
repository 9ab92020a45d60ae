"""A classifier whose logits are cosines: the NormedLinear of Cao et al., NeurIPS 2019."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlt.models.classifier import linear_classifier


class CosineClassifier(nn.Linear):
    """float [B, D] -> cosines [B, C] of features and class weights, computed in float32 under autocast too."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes, bias=False)

    def reset_parameters(self) -> None:
        """Directions from the cube of uniform weights, length 1."""
        nn.init.uniform_(self.weight, -1, 1)
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            return F.linear(F.normalize(x), F.normalize(self.weight).to(x.dtype))


def replace_classifier(model: nn.Module) -> None:
    """Puts a cosine classifier in the place of a network's linear one. Raises UserError if it has none."""
    classifier = linear_classifier(model, "model.classifier=cosine")
    name = next(name for name, module in model.named_modules() if module is classifier)
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, CosineClassifier(classifier.in_features, classifier.out_features))
