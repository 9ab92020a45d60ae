"""train.json and test.json: samples[{image_name, image_labels}] and labels[]."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fastlt.data.sources._archive import require
from fastlt.data.sources._lines import distinct, shown
from fastlt.errors import UserError

Listed = Iterator[tuple[str, str, list[int]]]  # place, name and classes of each picture


def recognises(files: dict[str, bytes]) -> bool:
    return "train.json" in files


def read(files: dict[str, bytes], root: Path, what: str) -> tuple[list[str], dict[str, Listed]]:
    """Words, and the pictures of train and test. Raises UserError for anything else than such lists."""
    require(files, ["train.json", "test.json"], root, what)
    contents = {split: _parse(files[f"{split}.json"], f"{root}: {split}.json") for split in ("train", "test")}
    words = distinct(((f"{root}: train.json", word) for word in contents["train"]["labels"]), "label")
    number = {word: i for i, word in enumerate(words)}
    return words, {split: _listed(c["samples"], number, f"{root}: {split}.json") for split, c in contents.items()}


def _parse(data: bytes, place: str) -> dict:
    try:
        content = json.loads(data)
        samples = [(sample["image_name"], sample["image_labels"]) for sample in content["samples"]]
        labels = content["labels"]
    except (ValueError, RecursionError) as error:
        raise _foreign(place, f"no JSON: {error}") from error
    except (TypeError, KeyError) as error:
        raise _foreign(place, "it must hold samples, each with image_name and image_labels, and labels") from error
    if not (isinstance(content["samples"], list) and samples):
        raise _foreign(place, "no samples")
    if not _words(labels) or not labels:
        raise _foreign(place, "labels are no list of words")
    for name, own in samples:
        if not (isinstance(name, str) and _words(own)):
            raise _foreign(place, f"sample {shown(str(name))} has no name or no list of words")
    return {"samples": samples, "labels": labels}


def _listed(samples: list[tuple[str, list[str]]], number: dict[str, int], place: str) -> Listed:
    for name, labels in samples:
        unknown = [label for label in labels if label not in number]
        if unknown:
            raise UserError(f"{place} gives image {shown(name)} unknown label {shown(unknown[0])}; correct the list")
        yield place, name, sorted({number[label] for label in labels})


def _words(value: object) -> bool:
    """Whether it is a list of texts that can be shown: not empty, of one line, without lone surrogates."""
    return isinstance(value, list) and all(isinstance(word, str) and word.isprintable() and word for word in value)


def _foreign(place: str, reason: str) -> UserError:
    return UserError(f"{place} is no list of Corel-5k's kind ({reason}); fetch it again")
