"""Decoded pictures into a batch: what stands between the decoder and the network, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastlt.ops.library import NAMESPACE, namespace

NO_SCALE, NO_SHIFT = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def available() -> bool:
    """Whether the compiled library is there; there is no other form of this operator. Loads the library."""
    return namespace() is not None


def pictures_to_batch(
    batch: Tensor,
    pictures: Sequence[Tensor] | Tensor,
    windows: Tensor,
    *,
    numbers: Tensor | None = None,
    offsets: Tensor | None = None,
    mirrored: Tensor | None = None,
    upside_down: Tensor | None = None,
    color_matrices: Tensor | None = None,
    color_shifts: Tensor | None = None,
    erased: Tensor | None = None,
    scale: Sequence[float] = NO_SCALE,
    shift: Sequence[float] = NO_SHIFT,
    parallel: bool = True,
) -> None:
    """Writes B `pictures`, each uint8 [h, w, 3] (or all in one tensor [B, h, w, 3]), into `batch` [B, H, W, 3],
    contiguous, float32, bfloat16, float16 or uint8; all on the CPU. With `numbers` (int64 [B]) `pictures` is one
    contiguous tensor [N, h, w, 3], of which those are taken. In this order, each step where it is asked for:

    1. `windows` int32 [B, 4] (top, left, height, width), inside each picture, are cut out and resized to H x W as
       Pillow's `crop(...).resize((W, H), BILINEAR)` does it: antialiased, by any factor, but rounded nowhere;
    2. `offsets` int32 [B, 2]: pixel (y, x) becomes what was at (y + top, x + left), black where nothing was;
    3. `upside_down`, `mirrored` int32 [B]: first row last, first column last where not 0;
    4. `color_matrices` float32 [B, 3, 3] and `color_shifts` float32 [B, 3]: matrix x + shift for RGB x, then rounded
       and clipped to 0..255;
    5. x * `scale` + `shift`, three numbers each, one for each channel. uint8 is rounded and clipped instead;
    6. `erased` int32 [B, 4] (top, left, height, width inside the batch): zeros.

    With `parallel` as many threads as PyTorch uses share the pictures, else the caller's is the only one; the bits are
    the same. Raises RuntimeError for wrong shapes, types, windows and numbers.
    """
    getattr(torch.ops, NAMESPACE).pictures_to_batch(
        batch,
        [pictures] if isinstance(pictures, Tensor) else pictures,
        numbers,
        windows,
        offsets,
        mirrored,
        upside_down,
        color_matrices,
        color_shifts,
        erased,
        scale,
        shift,
        parallel,
    )
