"""Logits and labels for the tests of losses: float64, to be cast by the test."""

import torch

# Labels of two images and three classes: all kinds, no positives, nothing but positives, nothing known.
EXTREMES = [
    torch.tensor(rows, dtype=torch.int8)
    for rows in ([[1, 0, -1], [0, 1, 0]], [[0, 0, 0]] * 2, [[1, 1, 1]] * 2, [[-1, -1, -1]] * 2)
]


def tail(classes):
    """Training images of each class, three times fewer from one to the next."""
    return [3 ** (classes - number) for number in range(classes)]


def many_labels(batch, classes, scale=3.0, seed=0):
    """Logits [batch, classes] and int8 labels in {1, 0, -1}."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (batch, classes), generator=generator, dtype=torch.int8)
    return scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64), labels


def one_label(batch, classes, scale=3.0, seed=0):
    """Logits [batch, classes] and int64 labels [batch]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (batch,), generator=generator)
    return scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64), labels
