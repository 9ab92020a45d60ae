"""Pictures annotated with words, as Corel-5k, IAPR TC-12 and ESP-GAME come, in JSON or in text lists."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources import _annotation_json, _annotation_text
from fastlt.data.sources._archive import read_files
from fastlt.data.sources._lines import shown
from fastlt.data.sources._word_pictures import WordPictures
from fastlt.errors import UserError

Listed = tuple[str, str, list[int]]  # place, name and classes of a picture
_ANNOTATION = re.compile(r"(train|test)\.json|.*_(dictionary|(train|test)_(list|annot))\.txt")
_FORMS = {"json": _annotation_json, "list": _annotation_text}


class Source:
    """A folder or tar archive with the annotations at its top and the pictures in `images`.

    form: `json` is train.json and test.json (samples[{image_name, image_labels}], labels[]); `list` is
    NAME_dictionary.txt (a word a line) and, for train and test, NAME_SPLIT_list.txt (a picture a line) and
    NAME_SPLIT_annot.txt (0 or 1 for each word, a row for each picture); default the one that is there. images: the
    pictures' folder. extension: what the names in the lists lack, such as .jpg; default found by what is there.
    """

    name = "annotation"
    multi_label = True
    splits = ("train", "test")
    default_val = 0.1
    default_recipe = Recipe()  # long-tailed as it is

    def __init__(self, root: Path, form: str | None = None, images: str = "images", extension: str | None = None):
        files = _read(root)
        reader = _FORMS[_form(root, files, form)]
        self.classes, lists = reader.read(files, root, self.name)
        self._pictures = WordPictures(root, None if root.is_dir() else files, images, extension)
        places: dict[str, str] = {}
        self._lists = {split: self._resolve(lists[split], places) for split in self.splits}

    def items(self, split: str) -> Iterator[Item]:
        ids, ends, labels = self._lists[split]
        for row, id in enumerate(ids):
            yield Item(id, self._pictures.image(id), tuple(labels[ends[row] : ends[row + 1]]))

    def describe(self) -> dict:
        return {"name": self.name, "images": {split: len(ids) for split, (ids, _, _) in self._lists.items()}}

    def _resolve(self, listed: Iterator[Listed], places: dict[str, str]) -> tuple[list[str], array, array]:
        """Ids, and labels as compressed rows; adds to `places` where each id was named."""
        ids: list[str] = []
        ends, labels = array("q", [0]), array("i")
        for place, name, row in listed:
            id = self._pictures.find(name, place)
            if id in places:
                raise UserError(
                    f"{place} names the picture {shown(name)} of {places[id]} again; it stands in one split, once"
                )
            places[id] = place
            ids.append(id)
            labels.extend(row)
            ends.append(len(labels))
        return ids, ends, labels


def _read(root: Path) -> dict[str, bytes]:
    """The annotations of a folder, or all of an archive."""
    if not root.is_dir():
        return read_files(root, lambda _: True)
    try:
        wanted = (path for path in sorted(root.iterdir()) if _ANNOTATION.fullmatch(path.name) and path.is_file())
        return {path.name: path.read_bytes() for path in wanted}
    except OSError as error:
        raise UserError(f"{root}: {error.filename} cannot be read: {error.strerror}") from error


def _form(root: Path, files: dict[str, bytes], form: str | None) -> str:
    if form is None:
        there = [name for name, reader in _FORMS.items() if reader.recognises(files)]
        if len(there) == 1:
            return there[0]
        has = "train.json as well as NAME_train_list.txt" if there else "neither train.json nor NAME_train_list.txt"
        mend = "choose the form json or list" if there else "give the data set's own folder or archive"
        raise UserError(f"{root} has {has}; {mend}")
    if form not in list(_FORMS):  # it may be of any type
        raise UserError(f"form is {form!r}; choose {' or '.join(_FORMS)}")
    return form
