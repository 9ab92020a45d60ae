"""One annotation of PASCAL VOC: which classes its image shows."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fastlt.data.sources._lines import shown
from fastlt.errors import UserError

CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip
ABSENT, PRESENT, DIFFICULT = 0, 1, 2  # difficult: present, but every object of the class is marked difficult

_NUMBER = {name: i for i, name in enumerate(CLASSES)}
_MAX_BYTES = 1 << 20  # a hundred times the largest annotation of VOC


def read_annotation(path: Path) -> np.ndarray:
    """uint8 [20]: ABSENT, PRESENT or DIFFICULT; an object that says nothing of it is not difficult.

    Raises UserError for what is no annotation with VOC's classes.
    """
    states = np.zeros(len(CLASSES), np.uint8)
    for item in _parse(path).findall("object"):
        name = (item.findtext("name") or "").strip()
        if name not in _NUMBER:
            raise UserError(f"{path} has an object of class {shown(name)}, which VOC does not have; correct its name")
        difficult = item.findtext("difficult", "0").strip()
        if difficult not in ("0", "1"):
            raise UserError(f"{path} has an object {name} whose difficult is {shown(difficult)}; it must be 0 or 1")
        if states[_NUMBER[name]] != PRESENT:
            states[_NUMBER[name]] = DIFFICULT if difficult == "1" else PRESENT
    return states


class _PlainBuilder(ElementTree.TreeBuilder):
    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("a DOCTYPE, which could define entities")  # before any of them is expanded


def _parse(path: Path) -> ElementTree.Element:
    if not os.path.isfile(path):
        raise UserError(f"{path} is missing though its image is listed; fetch the annotations again")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_PlainBuilder()))
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no annotation of VOC ({error}); fetch it again") from error
    if root.tag != "annotation":
        raise UserError(f"{path} is no annotation of VOC (it is a {shown(root.tag)}); fetch it again")
    return root
