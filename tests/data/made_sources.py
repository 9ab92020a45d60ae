"""Small sources made on the spot."""

import io

import numpy as np
from PIL import Image

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.hashing import integers, key


def pixels(seed, height=12, width=16):
    """uint8 [height, width, 3], different for each seed."""
    return integers(key("pixels", seed), np.arange(height * width * 3), 256).astype(np.uint8).reshape(height, width, 3)


def encoded(image, kind="PNG", **options):
    """File bytes of an array or a Pillow image."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


class ListSource:
    """A source over given items, by split."""

    name = "list"
    default_val = 0.0
    default_recipe = Recipe()

    def __init__(self, items, classes=2, multi_label=False):
        self._items, self.multi_label = items, multi_label
        self.classes = [f"class {c}" for c in range(classes)]
        self.splits = tuple(items)

    def items(self, split):
        return iter(self._items[split])

    def describe(self):
        return {"name": self.name}


def counted(counts, split="train", image=None):
    """A single-label source with that many images of each class."""
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    items = [Item(f"{i}.png", encoded(pixels(i)) if image is None else image, (c,)) for i, c in enumerate(labels)]
    return ListSource({split: items}, len(counts))
