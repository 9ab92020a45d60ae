"""ResNets for 32 x 32 pictures: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.

`CifarResNet` is the one made for them: three stages of n blocks with 16, 32 and 64 channels (depth 6n + 2), shortcuts
without parameters (option A). Its interface is timm's: `num_features`, `forward_features`, `forward_head`,
`get_classifier`, `reset_classifier`. `with_small_stem` fits timm's own ResNets, which are wider, to such pictures.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fastlt.ops.checks import wide

DEPTHS = (8, 14, 20, 32, 44, 56)
_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and the shortcut around them: [B, C, H, W] -> [B, width, H / stride, W / stride]."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.padding = (width - channels) // 2  # channels of zeros on either side

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Option A: every `stride`-th pixel, new channels are zero."""
        if self.padding == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class CifarResNet(nn.Module):
    """[B, 3, H, W] -> logits [B, num_classes]; `depth` is one of `DEPTHS`, `drop_rate` acts before the classifier."""

    def __init__(self, depth: int, num_classes: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.num_features = _WIDTHS[-1]
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.act1 = nn.ReLU()
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks, stride=2)
        self.drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 64, H / 4, W / 4]."""
        x = self.act1(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[B, 64, h, w] -> logits [B, num_classes], or the pooled features [B, 64]."""
        x = self.drop(_spatial_mean(x))
        return x if pre_logits else self.fc(x)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A new classifier; none (features come out) for 0 classes."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        _initialise(self.fc)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which names belong to the stem and to which stage (`coarse`) or block, as timm asks."""
        return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


def with_small_stem(resnet: nn.Module) -> nn.Module:
    """One of timm's ResNets, in place, that begins with a 3 x 3 convolution of stride 1 and no pooling.

    Its last stage then sees 1 / 8 of the picture's side, not 1 / 32 (Khosla et al., "Supervised Contrastive Learning",
    NeurIPS 2020, train CIFAR so).
    """
    resnet.conv1 = nn.Conv2d(3, resnet.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm's others
    resnet.maxpool = nn.Identity()
    return resnet


def _spatial_mean(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C]. The gradient of a sum is a view, one value for all pixels, but for half types; that of a
    mean is as large as x."""
    total = x.sum((2, 3), dtype=wide(x.dtype))
    return (total / (x.shape[2] * x.shape[3])).to(x.dtype)


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))


def _initialise(module: nn.Module) -> None:
    """He et al., "Delving deep into rectifiers", 2015: variance 2 / fan-in."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
