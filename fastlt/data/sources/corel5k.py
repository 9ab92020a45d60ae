"""Corel-5k (Duygulu et al., ECCV 2002) with train.json and test.json: 4,500 and 499 pictures, 260 labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._archive import read_files, require
from fastlt.errors import UserError


class Source:
    """A folder or tar archive: train.json, test.json (samples[{image_name, image_labels}], labels[]), images/."""

    name = "corel5k"
    multi_label = True
    splits = ("train", "test")
    default_val = 0.1
    default_recipe = Recipe()  # long-tailed as it is

    def __init__(self, root: Path):
        self._root = root
        self._files = read_files(root, lambda name: name.endswith(".json") or not root.is_dir())
        require(self._files, ["train.json", "test.json"], root, self.name)
        lists = {split: self._list(split) for split in self.splits}
        self.classes: list[str] = lists["train"]["labels"]
        self._samples = {split: self._resolve(split, content["samples"]) for split, content in lists.items()}

    def items(self, split: str) -> Iterator[Item]:
        for name, labels in self._samples[split]:
            yield Item(name, self._root / name if self._root.is_dir() else self._files.get(name, b""), labels)

    def describe(self) -> dict:
        return {"name": self.name, "images": {split: len(samples) for split, samples in self._samples.items()}}

    def _list(self, split: str) -> dict:
        try:
            content = json.loads(self._files[f"{split}.json"])
            labels, samples = content["labels"], content["samples"]
            pairs = [(sample["image_name"], sample["image_labels"]) for sample in samples]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._root}: {split}.json is no list of Corel-5k ({error!r}); fetch it again") from error
        return {"labels": labels, "samples": pairs}

    def _resolve(self, split: str, samples: list[tuple[str, list[str]]]) -> list[tuple[str, tuple[int, ...]]]:
        number = {label: i for i, label in enumerate(self.classes)}
        resolved = []
        for name, labels in samples:
            unknown = [label for label in labels if label not in number]
            if unknown or Path(name).name != name:
                wrong = f"unknown label {unknown[0]!r}" if unknown else "a path as its name"
                raise UserError(f"{self._root}: {split}.json gives image {name!r} {wrong}; correct the list")
            resolved.append((f"images/{name}", tuple(sorted({number[label] for label in labels}))))
        return resolved
