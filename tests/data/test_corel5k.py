"""Corel-5k from its lists."""

import json
import tarfile

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

LABELS = ["city", "sky", "sun"]
TRAIN = [("1.jpeg", ["sun", "city"]), ("2.jpeg", ["sky"]), ("3.jpeg", [])]
TEST = [("4.jpeg", ["sky", "sun"])]


def samples(pairs):
    listed = [{"image_name": name, "image_labels": labels} for name, labels in pairs]
    return json.dumps({"samples": listed, "labels": LABELS})


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "corel5k"
    (root / "images").mkdir(parents=True)
    (root / "train.json").write_text(samples(TRAIN))
    (root / "test.json").write_text(samples(TEST))
    for number, (name, _) in enumerate(TRAIN + TEST):
        (root / "images" / name).write_bytes(encoded(pixels(number), "JPEG"))
    return root


@pytest.fixture
def archive(folder):
    path = folder.with_suffix(".tar.xz")
    with tarfile.open(path, "w:xz") as tar:
        tar.add(folder, "corel5k")
    return path


def test_labels_and_pictures_from_folder_and_archive(folder, archive):
    for root in (folder, archive):
        source = open_source("corel5k", root)
        assert source.classes == LABELS and source.multi_label
        assert [item.labels for item in source.items("train")] == [(0, 2), (1,), ()]
    for ours, path in zip(source.items("test"), [folder / "images" / "4.jpeg"], strict=True):
        assert ours.image == path.read_bytes()


def test_both_build_the_same_shards(folder, archive, tmp_path):
    for root, out in ((folder, "a"), (archive, "b")):
        build(open_source("corel5k", root), tmp_path / out, val=0, workers=1)
    for split in ("train", "test"):
        a, b = ((tmp_path / out / split / "shard-00000.h5").read_bytes() for out in "ab")
        assert a == b
    with ShardSet(tmp_path / "a" / "train") as shards:
        assert shards.labels(np.arange(3)).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
        assert shards.ids([0]) == ["images/1.jpeg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            r"train.json is no list of Corel-5k.s kind \(no JSON: Expecting .* column 2 .*; fetch it again$",
        ),
        ('{"samples": 3, "labels": []}', "no list of Corel-5k.*must hold samples"),
        (
            '{"samples": [{"image_name": "a"}], "labels": []}',
            "no list of Corel-5k.*each with image_name and image_labels",
        ),
        (samples([("1.jpeg", ["moon"])]), "unknown label 'moon'"),
        (samples([("../1.jpeg", ["sun"])]), "leads out of the folder"),
    ],
)
def test_wrong_lists(folder, text, message):
    (folder / "train.json").write_text(text)
    with pytest.raises(UserError, match=message):
        open_source("corel5k", folder)


def test_the_real_set(real_data, tmp_path):
    source = open_source("corel5k", real_data("corel5k.tar.xz"))
    report = build(source, tmp_path / "out", workers=2)
    records = {split: content["records"] for split, content in report.splits.items()}
    assert records["train"] + records["val"] == 4500 and records["test"] == 499
    assert 400 <= records["val"] <= 500 and not report.bad
    counts = np.array(report.splits["train"]["counts"])
    assert len(counts) == 260 and counts.min() >= 1
