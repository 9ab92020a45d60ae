"""Pictures annotated with words, in JSON and in text lists."""

import contextlib
import json
import random
import tarfile

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

WORDS = ["city", "sky", "sun"]
TRAIN = {"00/25": ["sun", "city"], "00/26": ["sky"], "01/2 7": []}
TEST = {"38/4": ["sky", "sun"]}
ROWS = [(0, 2), (1,), ()]


def rows(pictures, separator=" "):
    return "".join(separator.join(str(int(word in own)) for word in WORDS) + "\n" for own in pictures.values())


def samples(pictures, words=WORDS):
    listed = [{"image_name": name, "image_labels": own} for name, own in pictures.items()]
    return json.dumps({"samples": listed, "labels": words})


@pytest.fixture
def pictures(tmp_path):
    """A folder without annotations."""
    root = tmp_path / "set"
    for number, name in enumerate([*TRAIN, *TEST]):
        path = root / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(number), "JPEG"))
    return root


@pytest.fixture
def lists(pictures):
    (pictures / "iapr_dictionary.txt").write_text("\n".join(WORDS))
    for split, own in (("train", TRAIN), ("test", TEST)):
        (pictures / f"iapr_{split}_list.txt").write_text("\n".join(own))
        (pictures / f"iapr_{split}_annot.txt").write_text(rows(own))
    return pictures


@pytest.fixture
def in_json(pictures):
    for split, own in (("train", TRAIN), ("test", TEST)):
        (pictures / f"{split}.json").write_text(samples({f"{name}.jpg": labels for name, labels in own.items()}))
    return pictures


def archived(folder):
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "set")
    return path


def labels(source, split="train"):
    return [(item.id, item.labels) for item in source.items(split)]


@pytest.mark.parametrize("form", ["lists", "in_json"])
def test_words_and_pictures_of_both_forms_from_folder_and_archive(form, request):
    folder = request.getfixturevalue(form)
    for root in (folder, archived(folder)):
        source = open_source("annotation", root)
        assert source.classes == WORDS and source.multi_label and source.splits == ("train", "test")
        assert labels(source) == [(f"images/{name}.jpg", own) for name, own in zip(TRAIN, ROWS, strict=True)]
        (item,) = source.items("test")
        data = item.image if isinstance(item.image, bytes) else item.image.read_bytes()
        assert data == (folder / "images/38/4.jpg").read_bytes()


def test_folder_and_archive_build_the_same_shards(lists, tmp_path):
    for root, out in ((lists, "a"), (archived(lists), "b")):
        build(open_source("annotation", root), tmp_path / out, val=0, workers=1)
    for split in ("train", "test"):
        a, b = ((tmp_path / out / split / "shard-00000.h5").read_bytes() for out in "ab")
        assert a == b
    with ShardSet(tmp_path / "a" / "train") as shards:
        assert shards.labels(np.arange(3)).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


class TestPictures:
    def test_may_lie_elsewhere_below_the_root(self, lists):
        (lists / "images").rename(lists / "jpg")
        assert labels(open_source("annotation", lists, images="jpg"))[0][0] == "jpg/00/25.jpg"

    def test_may_lie_in_the_root_itself(self, lists):
        for folder in (lists / "images").iterdir():
            folder.rename(lists / folder.name)
        assert labels(open_source("annotation", lists, images="."))[0][0] == "00/25.jpg"

    def test_each_may_have_another_extension(self, lists):
        path = lists / "images" / "00" / "26.jpg"
        path.rename(path.with_suffix(".PNG"))
        found = [id for id, _ in labels(open_source("annotation", lists))]
        assert found == ["images/00/25.jpg", "images/00/26.PNG", "images/01/2 7.jpg"]

    @pytest.mark.parametrize("extension", ["jpeg", ".jpeg"])
    def test_the_extension_may_be_given_for_names_that_lack_it(self, lists, extension):
        (lists / "iapr_test_list.txt").write_text("38/4.jpeg")
        source = open_source("annotation", lists, extension=extension)
        assert labels(source)[0][0] == "images/00/25.jpeg" and labels(source, "test")[0][0] == "images/38/4.jpeg"

    def test_one_that_is_missing_is_unreadable(self, lists, tmp_path):
        (lists / "images/00/26.jpg").unlink()
        for root in (lists, archived(lists)):
            report = build(open_source("annotation", root), tmp_path / root.suffix, val=0, workers=1)
            assert [id for _, id, _ in report.bad] == ["images/00/26"]

    def test_one_behind_a_link_that_leads_out_is_refused(self, lists, tmp_path):
        (tmp_path / "secret.jpg").write_bytes(b"")
        (lists / "images/00/26.jpg").unlink()
        (lists / "images/00/26.jpg").symlink_to(tmp_path / "secret.jpg")
        with pytest.raises(UserError, match="26.jpg.*leads out"):
            list(open_source("annotation", lists).items("train"))


@pytest.mark.parametrize(
    "text", ["1,0,1\n0,1,0,\n0, 0, 0\n", "1.0 0.0 1.0\n0 1 0\n0 0 0", "1e+00\t0\t1\r\n0 1 0\r\n\n0 0 0"]
)
def test_annotations_may_be_separated_by_spaces_tabs_or_commas_and_written_as_floats(lists, text):
    (lists / "iapr_train_annot.txt").write_text(text)
    assert [own for _, own in labels(open_source("annotation", lists))] == ROWS


LINES = "\n".join(TRAIN)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("train_annot", "1 0 1\n0 1 0\n", "train_list.txt:3: picture '01/2 7' has no row of annotations"),
        ("train_annot", "1 0 1\n0 1 0\n0 0 0\n1 1 1", "train_annot.txt:4 is a row of annotations without a picture"),
        ("train_annot", "1 0 1\n0 1\n0 0 0\n", "train_annot.txt:2 has 2 values where the dictionary has 3 words"),
        ("train_annot", "1 0 1\n0 1 2\n0 0 0\n", "train_annot.txt:2 has the value '2'"),
        ("train_annot", "1 0 1\n0 1 nan\n0 0 0\n", "train_annot.txt:2 has the value 'nan'"),
        ("train_annot", "1 0 1\n0 1 -1\n0 0 0\n", "train_annot.txt:2 has the value '-1'"),
        ("train_annot", "1 0 1\n0 1 x\n0 0 0\n", "train_annot.txt:2 has the value 'x'"),
        ("train_annot", "1 0 1\n0 1 1e999\n0 0 0\n", "train_annot.txt:2 has the value '1e999'"),
        ("train_annot", b"1 0 \xff\n", "train_annot.txt:1 is not UTF-8"),
        ("train_list", LINES.replace("00/26", "00/25"), "list.txt:2 names the picture '00/25' of .*list.txt:1 again"),
        ("train_list", LINES.replace("00/26", "38/4"), "test_list.txt:1 names the picture '38/4' of .*:2 again"),
        ("train_list", LINES.replace("00/26", "../26"), "train_list.txt:2 .*leads out"),
        ("train_list", LINES.replace("00/26", "/etc/hosts"), "train_list.txt:2 .*leads out"),
        ("dictionary", "city\nsky\nsky\n", "dictionary.txt:3: word 'sky' was already given"),
        ("dictionary", "", "dictionary.txt is empty"),
        ("dictionary", b"c\xe9ty\nsky\nsun", "dictionary.txt:1 is not UTF-8"),
    ],
)
def test_wrong_lists_are_refused_with_file_and_line(lists, part, text, message):
    (lists / f"iapr_{part}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        open_source("annotation", lists)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "train.json is no list"),
        ("[" * 100_000, "train.json is no list"),
        ("[]", "is no list"),
        ("3", "is no list"),
        (b"\xff\xfe\x00", "is no list"),
        ('{"samples": 3, "labels": ["a"]}', "is no list"),
        ('{"samples": {}, "labels": ["a"]}', "is no list"),
        ('{"samples": [], "labels": ["a"]}', "no samples"),
        ('{"samples": [3], "labels": ["a"]}', "is no list"),
        ('{"samples": [{"image_name": 3, "image_labels": []}], "labels": ["a"]}', "has no name"),
        ('{"samples": [{"image_name": "a", "image_labels": "city"}], "labels": ["city"]}', "no list of words"),
        ('{"samples": [{"image_name": "a", "image_labels": [["city"]]}], "labels": ["city"]}', "no list of words"),
        ('{"samples": [{"image_name": "a", "image_labels": [NaN]}], "labels": ["city"]}', "no list of words"),
        ('{"samples": [{"image_name": "a", "image_labels": []}], "labels": "city"}', "labels are no list of words"),
        ('{"samples": [{"image_name": "a", "image_labels": []}], "labels": []}', "labels are no list of words"),
        (r'{"samples": [{"image_name": "\ud800", "image_labels": []}], "labels": ["city"]}', "no file can be called"),
        (samples({"a": []}, ["b", "b"]), "label 'b' was already given"),
        (samples({"a": ["moon"]}), "unknown label 'moon'"),
        (samples({"../a": ["sun"]}), "leads out"),
        (samples({"": ["sun"]}), "no file can be called"),
        (samples({"38/4.jpg": ["sun"]}), "test.json names the picture '38/4.jpg' of .*train.json again"),
    ],
)
def test_wrong_json_is_refused(in_json, text, message):
    (in_json / "train.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        open_source("annotation", in_json)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "hvecs"}, "form is 'hvecs'; choose json or list"),
        ({"form": []}, "form is .*; choose json or list"),
        ({"form": "json"}, "has no train.json"),
        ({"images": "../set/images"}, "option images .*leads out"),
        ({"images": 3}, "option images is 3"),
        ({"images": "pics"}, "set/pics is no folder; name that of the pictures as option images"),
        ({"extension": 3}, "option extension is 3"),
    ],
)
def test_wrong_options(lists, options, message):
    with pytest.raises(UserError, match=message):
        open_source("annotation", lists, **options)


def test_the_form_is_found_by_what_is_there(lists, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither train.json nor NAME_train_list.txt"):
        open_source("annotation", tmp_path / "empty")
    with pytest.raises(UserError, match="has no NAME_dictionary.txt"):
        open_source("annotation", tmp_path / "empty", form="list")
    (lists / "train.json").write_text("{}")
    with pytest.raises(UserError, match="choose the form json or list"):
        open_source("annotation", lists)
    assert open_source("annotation", lists, form="list").classes == WORDS


def test_two_data_sets_in_one_folder_are_refused(lists):
    (lists / "esp_train_list.txt").write_text("")
    with pytest.raises(UserError, match="lists of esp, iapr"):
        open_source("annotation", lists)


@pytest.mark.parametrize("part", ["dictionary", "test_list", "train_annot"])
def test_a_missing_list_is_named(lists, part):
    (lists / f"iapr_{part}.txt").unlink()
    with pytest.raises(UserError, match=f"has no iapr_{part}.txt"):
        open_source("annotation", lists)


def damaged(data, seed):
    """The bytes with some of them replaced, removed or repeated."""
    draw, data = random.Random(seed), bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(data) + 1), draw.choice([0, 1, 1, 6])
        pieces = [
            b"",
            b" ",
            b"\n",
            b'"',
            b"[",
            b"{}",
            b"null",
            b"-1e999",
            b"..",
            b"/",
            b"\0",
            b"\xff",
            b"\\ud800",
            data[:9],
        ]
        data[at : at + length] = draw.choice(pieces)
    return bytes(data)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("lists", "iapr_dictionary.txt"),
        ("lists", "iapr_train_list.txt"),
        ("lists", "iapr_train_annot.txt"),
        ("in_json", "train.json"),
    ],
)
def test_whatever_is_in_a_file_it_opens_or_is_refused(form, name, request):
    folder = request.getfixturevalue(form)
    good = (folder / name).read_bytes()
    for seed in range(100):
        (folder / name).write_bytes(damaged(good, seed))
        with contextlib.suppress(UserError):
            list(open_source("annotation", folder).items("train"))
