"""The bundled digits, folders of pictures, and how sources are opened."""

import io

import numpy as np
import pytest
from made_sources import encoded, pixels
from PIL import Image
from rich.console import Console

from fastlt.commands.data import _option, build_data_set
from fastlt.data.sources import open_source, source_names
from fastlt.errors import UserError


def counts(source, split="train"):
    return np.bincount([c for item in source.items(split) for c in item.labels], minlength=len(source.classes))


def test_every_source_can_be_named():
    assert source_names() == [
        "annotation", "cifar10", "cifar100", "coco", "corel5k", "csv", "digits", "folder", "list", "openimages",
        "shards", "voc",
    ]  # fmt: skip


class TestDigits:
    def test_single_digits_are_the_ones_of_scikit_learn_split_by_class(self):
        source = open_source("digits")
        assert counts(source).sum() + counts(source, "test").sum() == 1797
        assert counts(source, "test").min() >= 40
        for item in list(source.items("train"))[::200]:
            assert Image.open(io.BytesIO(item.image)).size == (32, 32)

    def test_no_picture_is_in_both_splits(self):
        source = open_source("digits")
        train, test = ({item.image for item in source.items(split)} for split in ("train", "test"))
        assert len(train) == 1347 and not train & test

    def test_scenes_are_long_tailed_and_their_labels_co_occur(self):
        source = open_source("digits", form="scenes")
        found = counts(source)
        assert (np.diff(found) < 0).all() and found[0] > 50 * found[9] and found[9] >= 5
        rows = np.zeros((2000, 10), bool)
        for row, item in zip(rows, source.items("train"), strict=True):
            assert 1 <= len(item.labels) <= 4
            row[list(item.labels)] = True
        with_companion = (rows[:, 5] & rows[:, 4]).sum() / rows[:, 5].sum()
        assert with_companion > 2 * rows[:, 4].mean()

    def test_test_scenes_show_every_digit_equally(self):
        found = counts(open_source("digits", form="scenes"), "test")
        assert found.min() > 0.6 * found.max()

    def test_scenes_show_the_digits_that_their_labels_name(self):
        """As many separate bright cells as digits, at least one for each label."""
        source = open_source("digits", form="scenes")
        for item in list(source.items("train"))[:200]:
            scene = np.asarray(Image.open(io.BytesIO(item.image)))
            cells = scene.reshape(2, 32, 2, 32).max(axis=(1, 3)) > 100
            assert scene.shape == (64, 64) and len(item.labels) <= cells.sum() <= 4

    @pytest.mark.parametrize("form", ["single", "scenes"])
    def test_seed_decides_everything(self, form):
        def content(seed):
            return [
                (item.id, item.image, item.labels) for item in open_source("digits", form=form, seed=seed).items("test")
            ]

        assert content(0) == content(0) != content(1)


def fill(folder, names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(number)))


class TestFolder:
    def test_sub_folders_are_classes(self, tmp_path):
        fill(tmp_path, ["cat/2.png", "cat/1.PNG", "ant/deep/er/3.jpg", "ant/notes.txt", ".hidden/4.png", "cat/.5.png"])
        source = open_source("folder", tmp_path)
        assert source.classes == ["ant", "cat"] and source.splits == ("train",) and source.default_val == 0.1
        found = [(item.id, item.labels) for item in source.items("train")]
        assert found == [("ant/deep/er/3.jpg", (0,)), ("cat/1.PNG", (1,)), ("cat/2.png", (1,))]

    def test_splits_may_stand_above_the_classes(self, tmp_path):
        fill(tmp_path, ["train/a/1.png", "train/b/1.png", "val/a/2.png", "test/b/3.png"])
        source = open_source("folder", tmp_path)
        assert source.splits == ("train", "val", "test") and source.default_val == 0.0
        assert [item.labels for item in source.items("test")] == [(1,)]

    def test_a_class_that_training_does_not_have_is_named(self, tmp_path):
        fill(tmp_path, ["train/a/1.png", "test/b/3.png"])
        with pytest.raises(
            UserError, match="test/b is a class that .*train does not have; add training pictures of it"
        ):
            open_source("folder", tmp_path)

    def test_pictures_of_a_folder_come_before_those_of_the_folders_in_it_and_hidden_ones_never(self, tmp_path):
        fill(
            tmp_path, ["a/z.png", "a/b/2.png", "a/b/1.png", "a/b/c/1.png", "a/d/1.png", "a/.thumbnails/z.png", "a/e/f"]
        )
        found = [item.id for item in open_source("folder", tmp_path).items("train")]
        assert found == ["a/z.png", "a/b/1.png", "a/b/2.png", "a/b/c/1.png", "a/d/1.png"]

    @pytest.mark.parametrize("link", ["root/cat/1.png", "root/cat/more", "root/ant"])
    def test_a_link_out_of_the_root_is_refused(self, tmp_path, link):
        fill(tmp_path, ["root/cat/2.png", "elsewhere/1.png"])
        (tmp_path / link).symlink_to(tmp_path / "elsewhere" / ("1.png" if link.endswith("png") else ""))
        with pytest.raises(UserError, match=f"{link} is a link that leads out of .*/root; put"):
            list(open_source("folder", tmp_path / "root").items("train"))

    def test_links_inside_the_root_count_and_a_split_may_be_a_link(self, tmp_path):
        fill(tmp_path, ["root/pool/1.png", "elsewhere/cat/1.png", "root/test/cat/2.png"])
        (tmp_path / "root" / "train").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root" / "test" / "cat" / "more").symlink_to(tmp_path / "root" / "pool")
        (tmp_path / "root" / "test" / "cat" / "README").symlink_to(__file__)  # no picture
        source = open_source("folder", tmp_path / "root")
        assert [item.id for item in source.items("train")] == ["cat/1.png"]
        assert [item.id for item in source.items("test")] == ["cat/2.png", "cat/more/1.png"]

    def test_a_link_that_leads_back_is_refused(self, tmp_path):
        fill(tmp_path, ["cat/deep/1.png"])
        (tmp_path / "cat" / "deep" / "again").symlink_to(tmp_path / "cat")
        with pytest.raises(UserError, match="deep/again is a link to a folder that it lies in"):
            list(open_source("folder", tmp_path).items("train"))

    @pytest.mark.parametrize(
        ("pictures", "out", "refused"),
        [
            (["cat/1.png"], "out", True),
            (["cat/1.png"], "cat/out", True),
            (["train/cat/1.png"], "train/out", True),
            (["train/cat/1.png"], "test", True),  # there is none yet: a second build would take it for one
            (["train/cat/1.png"], "out", False),
            (["cat/1.png"], "../out", False),
        ],
    )
    def test_building_into_what_is_read_is_refused(self, tmp_path, pictures, out, refused):
        fill(tmp_path / "root", pictures)

        def run():
            build_data_set("folder", tmp_path / "root", tmp_path / "root" / out, Console(), val=0, workers=1)

        if refused:
            with pytest.raises(UserError, match="lies in .*root.*; build outside of it"):
                run()
            assert not (tmp_path / "root" / out).exists()
        else:
            run()
            run()  # the second time there is something

    def test_a_folder_without_classes(self, tmp_path):
        with pytest.raises(UserError, match="no sub-folder"):
            open_source("folder", tmp_path)


class TestWrongUse:
    def test_the_nearest_name_is_offered(self):
        with pytest.raises(UserError, match="did you mean cifar10"):
            open_source("cifar_10", "x")

    def test_unknown_option(self):
        with pytest.raises(UserError, match="no option 'shape'; it has form, seed"):
            open_source("digits", shape="scenes")

    @pytest.mark.parametrize("name", ["cifar10", "cifar100", "corel5k", "folder"])
    def test_missing_folder_is_named(self, name, tmp_path):
        with pytest.raises(UserError, match="nowhere does not exist"):
            open_source(name, tmp_path / "nowhere")
        with pytest.raises(UserError, match="needs the folder or archive .*; name it with --root"):
            open_source(name)

    def test_wrong_form(self):
        with pytest.raises(UserError, match="single or scenes"):
            open_source("digits", form="triple")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1), ("a=true", True), ("a=null", None), ("a=[2007, 2012]", [2007, 2012]), ("a=x y", "x y"),
        ("a=-", "-"), ("a=?", "?"), ("a=#N/A", "#N/A"), ("a=|", "|"), ("a=,", ","), ("a=b: c", "b: c"),
        ("a=", ""), ("a=x=y", "x=y"),
    ],
)  # fmt: skip
def test_an_option_is_text_unless_it_is_a_number_a_truth_or_a_list(text, value):
    assert _option(text) == ("a", value)
