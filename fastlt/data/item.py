"""What a source of pictures yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fastlt.data.longtail import Recipe


@dataclass(frozen=True)
class Item:
    """One labelled picture."""

    id: str  # unique in its split, for example the relative path
    image: bytes | Path | np.ndarray  # an encoded file's bytes, a file, or raw uint8 [H, W, 3]
    labels: tuple[int, ...]  # classes that are positive; exactly one in a single-label source
    unknown: tuple[int, ...] = ()  # classes whose label nobody knows; all others are negative
    negative: tuple[int, ...] = ()  # of a source whose label_default is -1: known negatives; all others are unknown


class Source(Protocol):
    """A labelled collection of pictures. `items` gives the same items in the same order every time.

    A source may also have
        label_default: 0 (what is not listed is negative, as without it) or -1 (what is not listed is unknown)
        attributes: name of an attribute -> its classes, of which an image has one; a class has one attribute at most
        scanned: folders in which whatever lies there is taken for the source's
        problems: (place, what was done about it) of all that was wrong in the annotations and resolved by a rule;
            a list, or sources._problems.Problems where they may be many
    """

    name: str
    classes: list[str]
    multi_label: bool
    splits: tuple[str, ...]  # "train" first, then perhaps "val" and "test"
    default_val: float  # share of the training images carved off as `val` unless the user says otherwise
    default_recipe: Recipe

    def items(self, split: str) -> Iterator[Item]: ...

    def describe(self) -> dict:
        """What dataset.json keeps of the source: JSON values only, no paths of this machine."""
        ...


def label_default(source: Source) -> int:
    return getattr(source, "label_default", 0)
