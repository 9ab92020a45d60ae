"""What scores say as probabilities."""

from __future__ import annotations

import numpy as np


def probabilities(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Sigmoid of each score where labels are independent, softmax over the classes otherwise; float64 [N, C]."""
    scores = scores.astype(np.float64)
    if multi_label:
        return 0.5 * (1 + np.tanh(scores / 2))
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
