"""COCO (Lin et al., ECCV 2014) and LVIS (Gupta et al., CVPR 2019): which categories an image has boxes of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.sources._coco import Instances, read_instances
from fastlt.data.sources._inside import Inside
from fastlt.data.sources._lines import shown
from fastlt.data.sources._problems import Problems
from fastlt.data.sources._repeats import digests, first_repeat
from fastlt.errors import UserError

AUTO = "auto"


class Source:
    """A folder with a JSON file of instances and a folder of pictures for each split.

    train, test: the files; `auto` is the training file's name with `val` for `train` if there is such a file, None is
    no test split. images_train, images_test: the folders of the pictures. crowd: `keep` counts boxes around a crowd
    of objects as any other, `drop` overlooks them. empty: `drop` leaves out images without a positive class, as the
    simulations of partial labels do (Ben-Baruch et al., CVPR 2022).

    A file whose images have neg_category_ids is LVIS: classes that are neither annotated nor listed there are
    unknown, and an image's coco_url says in which of the two folders it is.
    """

    name = "coco"
    multi_label = True
    default_val = 0.1
    default_recipe = Recipe()

    def __init__(
        self,
        root: Path,
        train: str = "annotations/instances_train2017.json",
        test: str | None = AUTO,
        images_train: str = "train2017",
        images_test: str = "val2017",
        crowd: str = "keep",
        empty: str = "keep",
    ):
        if not root.is_dir():
            raise UserError(f"{root} is no folder; give the one that holds the annotations and the pictures")
        self._choices = {"crowd": crowd, "empty": empty}
        for option, value in self._choices.items():
            if value not in ("keep", "drop"):
                raise UserError(f"{option} is {value!r}; choose keep or drop")
        self._paths = {"train": root / _given("train", train)}
        if test is not None:
            path = _usual_test(self._paths["train"]) if test == AUTO else root / _given("test", test)
            self._paths |= {"test": path} if path else {}
        self.splits = tuple(self._paths)
        self._folders = {
            "train": root / _given("images_train", images_train),
            "test": root / _given("images_test", images_test),
        }
        self.problems = Problems()
        self._contents = {
            split: read_instances(path, crowd == "drop", self.problems) for split, path in self._paths.items()
        }
        content = self._contents["train"]
        self.classes = list(content.categories.values())
        self.label_default = -1 if content.federated else 0
        self._check_same_classes()
        self._inside = {split: self._open_folders(split) for split in self.splits}
        self._check_repeats()

    def items(self, split: str) -> Iterator[Item]:
        content, place = self._contents[split], str(self._paths[split])
        for i in self._rows(content):
            name = content.names[i]
            folder, file = _folder_and_file(content, name)
            path = self._inside[split][folder].path(file, place)
            yield Item(name, path, content.positive[i], negative=content.negative[i])

    def describe(self) -> dict:
        files = {split: path.name for split, path in self._paths.items()}
        return {"name": self.name, "files": files, **self._choices}

    def _rows(self, content: Instances) -> Sequence[int]:
        if self._choices["empty"] == "drop":
            return np.flatnonzero(content.positive.counts()).tolist()
        return range(len(content.names))

    def _open_folders(self, split: str) -> dict[str, Inside]:
        """By the folder's name in the file, where that names any. Raises UserError for a folder that is missing."""
        content = self._contents[split]
        if content.by_url:
            known = {folder.name: folder for folder in self._folders.values()}
        else:
            known = {"": self._folders[split]}
        for name in sorted({_folder_and_file(content, name)[0] for name in content.names}):
            if name not in known:
                raise UserError(
                    f"{self._paths[split]} has pictures in {shown(name)}; give it as images_train or images_test"
                )
            if not known[name].is_dir():
                raise UserError(f"{known[name]} is no folder; name that of the pictures as images_train or images_test")
        return {name: Inside(folder) for name, folder in known.items()}

    def _check_same_classes(self) -> None:
        train = self._contents["train"]
        for split in self.splits[1:]:
            other, path = self._contents[split], self._paths[split]
            for id, name in sorted(train.categories.items() ^ other.categories.items()):
                raise UserError(
                    f"{path}: category {id} ({shown(name)}) differs from {self._paths['train']}; make them agree"
                )
            if other.federated != train.federated:
                raise UserError(
                    f"{path} has neg_category_ids, or lacks it, unlike {self._paths['train']}; use one kind"
                )

    def _check_repeats(self) -> None:
        """No picture comes twice, be it in one split or in both."""
        training = len(self._contents["train"].names)
        total = sum(len(content.names) for content in self._contents.values())

        def file(i: int) -> str:
            return self._file("train", i) if i < training else self._file("test", i - training)

        repeat = first_repeat(digests(map(file, range(total))), file)
        if repeat:
            path = self._paths["train" if repeat[1] < training else "test"]
            raise UserError(f"{path} has the picture {shown(file(repeat[1]))} a second time; correct the files")

    def _file(self, split: str, i: int) -> str:
        """Unique to a picture."""
        content = self._contents[split]
        return content.names[i] if content.by_url else str(self._folders[split] / content.names[i])


def _folder_and_file(content: Instances, name: str) -> tuple[str, str]:
    folder, _, file = name.partition("/")
    return (folder, file) if content.by_url else ("", name)


def _given(option: str, value: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UserError(f"{option} is {value!r}; give a path relative to the folder of the data set")
    return value


def _usual_test(train: Path) -> Path | None:
    path = train.with_name(train.name.replace("train", "val"))
    return path if path != train and path.is_file() else None
