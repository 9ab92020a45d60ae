"""A data set of made pictures: linked to its images, with their labels, finished whatever stops it, and merged."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastlt.cli import commands, main
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.data.stored_picture import stored_picture
from fastlt.errors import UserError
from fastlt.hashing import integers, key
from fastlt.wgan import source as made_source
from fastlt.wgan.settings import Settings

SMALL = ["--size", "64x64", "--channels", "1", "--iterations", "4", "--device", "cpu"]
LABELS = [((0,), ()), ((0, 1), (2,)), ((), (1,)), ((0, 2), ()), ((0,), (3,)), ((1,), (0, 2))]  # positive, unknown


def pixels(number):
    return integers(key("picture", number), np.arange(40 * 60 * 3), 256).astype(np.uint8).reshape(40, 60, 3)


class Pictures:
    """Six pictures, of several labels of which some are unknown, or of one label."""

    name, default_val, default_recipe = "pictures", 0.0, made_source.Recipe()
    splits = ("train", "test")

    def __init__(self, multi_label):
        self.multi_label, self.classes = multi_label, ["sky", "water", "tree", "snake"]

    def items(self, split):
        rows = [((c,), ()) for c in (0, 0, 0, 1, 2, 3)] if not self.multi_label else LABELS
        for number, (labels, unknown) in enumerate(rows):
            name = number + 100 * (split == "test")
            yield Item(f"{name}.png", made_source.png(pixels(name)), labels, unknown)

    def describe(self):
        return {"name": self.name}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    out = tmp_path_factory.mktemp("several")
    build(Pictures(multi_label=True), out, workers=1)
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    build(Pictures(multi_label=False), out, workers=1)
    return out


def augment(data, out, *more):
    arguments = ["augment", "ml-wgan", data, "--out", out, *SMALL, *more]
    commands.main(list(map(str, arguments)), prog_name="fastlt", standalone_mode=False)
    return ShardSet(out / "train")


@pytest.fixture(scope="module")
def made(several, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    return augment(several, out, "--at-once", "4")


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def rows(records):
    return np.arange(len(records))


def test_each_picture_is_linked_to_its_image_and_the_iteration_that_made_it(made, several):
    originals = [id for id in ShardSet(several / "train").ids(range(6)) for _ in range(3)]
    assert made.ids(rows(made)) == [f"{id}#wgan-{1 + number % 3}" for number, id in enumerate(originals)]


def test_it_has_the_labels_of_its_image_and_what_is_unknown_stays_unknown(made, several):
    assert made.classes == ShardSet(several / "train").classes and made.multi_label
    truth = ShardSet(several / "train").labels(range(6))
    np.testing.assert_array_equal(made.labels(rows(made)), truth.repeat(3, axis=0))
    assert (truth == -1).sum() == 5


def test_pictures_differ_from_their_image_and_from_each_other(made, several):
    originals = ShardSet(several / "train").read(np.arange(6))
    shown = [np.asarray(stored_picture(record)) for record in made.read(rows(made))]
    assert [picture.shape for picture in shown[:3]] == [(64, 64, 3)] * 3
    assert len({picture.tobytes() for picture in shown}) == 18
    assert not {record.tobytes() for record in made.read(rows(made))} & {record.tobytes() for record in originals}
    truth = Settings(height=64, width=64)
    for number, picture in enumerate(shown):
        seen = made_source.real_picture(originals[number // 3].tobytes(), truth)
        assert np.abs(seen.transpose(1, 2, 0) - (picture / 127.5 - 1)).mean() > 0.1


def test_the_set_verifies_and_leaves_no_other_files(made, capsys):
    out = made.folder.parent
    commands.main(["verify", str(out)], standalone_mode=False)
    assert "18 records of train" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"train"}
    assert made.manifest["source"]["iterations"] == 4 and made.manifest["source"]["of"]["name"] == "shards"


def test_killed_in_the_middle_the_same_command_gives_the_same_bytes(several, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    more = ["--at-once", "1"]
    augment(several, whole, *more)
    command = [sys.executable, "-m", "fastlt", "augment", "ml-wgan", several, "--out", out, *SMALL, *more]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("made-*/*.png"))) < 4:  # in the second of six groups
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(out.glob("made-*")) and not (out / "train/dataset.json").exists()
    augment(several, out, *more)
    assert files(out) == files(whole)


class Counting:
    """Networks that make black pictures, and how many groups were asked for before they fail."""

    def __init__(self, fails_at=None):
        self.groups, self.fails_at = 0, fails_at

    def __call__(self, real, seeds, tick):
        if self.groups == self.fails_at:
            raise KeyboardInterrupt
        self.groups += 1
        return np.zeros((3, *real.shape), np.float32) - 1


def black(several, out, make, **changed):
    settings = Settings(**{"height": 64, "width": 64, "iterations": 5} | changed)
    return made_source.Source(several, out, settings, below=None, at_once=2, device="cpu", make=make)


def test_a_finished_group_is_not_trained_again(several, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(black(several, tmp_path, Counting(fails_at=2)), tmp_path, workers=1, raw=False)
    again = Counting()
    build(black(several, tmp_path, again), tmp_path, workers=1, raw=False)
    assert again.groups == 1
    build(black(several, tmp_path, again), tmp_path, workers=1, raw=False)  # it is all there
    assert again.groups == 1


def test_pictures_of_other_settings_are_not_taken_for_these(several, tmp_path):
    first, other, last = Counting(fails_at=1), Counting(fails_at=1), Counting()
    with pytest.raises(KeyboardInterrupt):
        build(black(several, tmp_path, first), tmp_path / "out", workers=1, raw=False)
    with pytest.raises(KeyboardInterrupt):
        build(black(several, tmp_path, other, seed=1), tmp_path / "out", workers=1, raw=False, overwrite=True)
    assert (first.groups, other.groups) == (1, 1)
    build(black(several, tmp_path, last, seed=1), tmp_path / "out", workers=1, raw=False)
    assert last.groups == 2


def test_networks_that_broke_down_make_no_pictures(several, tmp_path):
    def broken(real, seeds, tick):
        made = np.zeros((3, *real.shape), np.float32)
        made[2, 1, 0, 5, 5] = np.nan
        return made

    with pytest.raises(UserError, match=r"networks of 1\.png made numbers without end"):
        build(black(several, tmp_path, broken), tmp_path, workers=1, raw=False)
    assert not list(tmp_path.rglob("*.png"))


def test_only_images_of_rare_classes_when_asked(several, one, tmp_path):
    rare = augment(several, tmp_path / "several", "--below", "2", "--at-once", "8")
    assert rare.ids(rows(rare)) == ["3.png#wgan-1", "3.png#wgan-2", "3.png#wgan-3"]
    single = augment(one, tmp_path / "one", "--below", "2", "--at-once", "8")
    assert single.classes == ["water", "tree", "snake"] and not single.multi_label
    np.testing.assert_array_equal(single.labels(rows(single)), np.repeat([0, 1, 2], 3))


def test_real_and_made_pictures_become_one_set(one, several, tmp_path):
    for data, name in ((one, "one"), (several, "several")):
        augment(data, tmp_path / name, "--below", "3")
        build(open_source("shards", data, also=str(tmp_path / name)), tmp_path / f"{name}-both", workers=1)
        both, real = ShardSet(tmp_path / f"{name}-both/train"), ShardSet(data / "train")
        ids = both.ids(rows(both))
        assert both.classes == real.classes and ids[:6] == real.ids(range(6))
        labels = dict(zip(real.ids(range(6)), real.labels(range(6)), strict=True))
        for id, own in zip(ids, both.labels(rows(both)), strict=True):
            np.testing.assert_array_equal(own, labels[id.partition("#wgan-")[0]])
        assert len(ShardSet(tmp_path / f"{name}-both/test")) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "100x64"], "size is 100x64; give height x width, multiples of 32 from 64 on"),
        (["--size", "32x64"], "size is 32x64"),
        (["--below", "2"], "has no class of 1 to 1 training images; raise --below"),
        (["--at-once", "1000000", "--channels", "4096"], "GB are free; make --channels or --size smaller"),
        (["--at-once", "4", "--channels", "1024"], "GB are free; "),
        (["--quality", "200"], "quality is 200"),
    ],
)
def test_wrong_input_ends_in_one_line(arguments, said, digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastlt.commands.augment.free_memory", lambda device: 1 << 30)
    assert said in failure(capsys, digits, tmp_path, *arguments)
    assert not list(tmp_path.rglob("*.h5"))


def failure(capsys, data, out, *more):
    """The one line in which the command ends."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, ["augment", "ml-wgan", data, "--out", out, *SMALL, *more])))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1 and line.startswith("error: ")
    return line


def test_a_folder_that_is_no_data_set_is_refused(tmp_path, capsys):
    assert "has no train that `fastlt build` wrote" in failure(capsys, tmp_path / "nowhere", tmp_path / "out")


def test_the_data_set_itself_is_not_written_to(one, capsys):
    assert "is the data set that is read" in failure(capsys, one, one)


def test_another_data_set_in_the_folder_is_not_overwritten(one, made, capsys):
    assert "holds another build" in failure(capsys, one, made.folder.parent)
