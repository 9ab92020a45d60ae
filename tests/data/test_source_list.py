"""Text lists: relative/path.jpg label."""

import contextlib
import os
import random
import tracemalloc

import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

TRAIN = "cat/1.png 0\ndog/two words.png 1\ncat/3.png 0\n"
TEST = "new/4.png 1\n"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    names = ["cat/1.png", "dog/two words.png", "cat/3.png", "new/4.png"]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(pixels(number)))
    (root / "train.txt").write_text(TRAIN)
    (root / "test.txt").write_text(TEST)
    return root


def opened(folder, train=TRAIN, **options):
    (folder / "train.txt").write_bytes(train if isinstance(train, bytes) else train.encode())
    return open_source("list", folder, train="train.txt", **options)


def labels(source, split="train"):
    return [(item.id, item.labels) for item in source.items(split)]


def test_pictures_and_labels_stand_in_the_order_of_the_list_and_paths_may_have_spaces(folder):
    source = opened(folder, test="test.txt")
    assert source.splits == ("train", "test") and not source.multi_label
    assert labels(source) == [("cat/1.png", (0,)), ("dog/two words.png", (1,)), ("cat/3.png", (0,))]
    assert [item.image for item in source.items("test")] == [folder / "new/4.png"]


def test_a_built_set_holds_the_pictures_and_lists_a_missing_one(folder, tmp_path):
    source = opened(folder, TRAIN + "gone.png 1\n", test="test.txt")
    report = build(source, tmp_path / "out", val=0, workers=1)
    assert [id for _, id, _ in report.bad] == ["gone.png"]
    with ShardSet(tmp_path / "out" / "train") as shards:
        assert shards.labels([0, 1, 2]).tolist() == [0, 1, 0]
        assert shards.read([1])[0].tobytes() == (folder / "dog/two words.png").read_bytes()


def test_validation_is_carved_off_only_where_no_list_gives_it(folder):
    assert opened(folder).default_val == 0.1
    source = opened(folder, val="test.txt")
    assert source.default_val == 0.0 and source.splits == ("train", "val")


def test_lists_may_stand_elsewhere_have_windows_line_ends_blank_lines_and_a_byte_order_mark(folder, tmp_path):
    list_file = tmp_path / "elsewhere.txt"
    list_file.write_bytes(b"\xef\xbb\xbfa/1.png\t0\r\n\r\n  b/2.png   1 \r\n")
    source = open_source("list", folder, train=str(list_file))
    assert labels(source) == [("a/1.png", (0,)), ("b/2.png", (1,))]


class TestClassNames:
    @pytest.mark.parametrize(
        ("train", "names"),
        [
            ("x/cat/1 0\nx/dog/2 1\nx/cat/3 0\n", ["cat", "dog"]),
            ("x/bar/inside/1 0\nx/pub/inside/2 1\n", ["bar/inside", "pub/inside"]),  # as in Places
            ("x/cat/1 0\nx/dog/2 1\ny/cat/3 0\n", ["0", "1"]),  # two folders of one class
            ("x/1 0\nx/2 1\n", ["0", "1"]),
            ("1 0\n2 1\n", ["0", "1"]),
        ],
    )
    def test_are_those_of_the_folders_if_each_class_has_its_own(self, folder, train, names):
        assert opened(folder, train).classes == names

    def test_may_be_given(self, folder):
        (folder / "names.txt").write_text("tabby cat\ndog\n")
        assert opened(folder, classes="names.txt").classes == ["tabby cat", "dog"]

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("a\n", "names 1 classes, .*train.txt has 2"),
            ("a\na\n", "names.txt:2: class 'a' was already given"),
            ("", "names 0"),
        ],
    )
    def test_must_fit(self, folder, names, message):
        (folder / "names.txt").write_text(names)
        with pytest.raises(UserError, match=message):
            opened(folder, classes="names.txt")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("", "train.txt names no picture"),
        ("a.png\n", "train.txt:1: 'a.png' is no picture with its label"),
        ("a.png 0\n7\n", "train.txt:2: '7' is no picture"),
        ("a.png -1\n", "train.txt:1: .* is no picture with its label"),
        ("a.png 1.0\n", "is no picture with its label"),
        ("a.png 1_0\n", "is no picture with its label"),
        ("a.png nan\n", "is no picture with its label"),
        ("a.png 99999999999999999999\n", "is no picture with its label"),
        ("a.png 0\nb.png 2\nc.png 2\n", "train.txt:2 has the label 2 but no training picture has 1"),
        ("a.png 1\n", "train.txt:1 has the label 1 but no training picture has 0"),
        ("a.png 0\nb.png 1\n\na.png 1\n", "train.txt:4 names the picture 'a.png' of .*train.txt:1 again"),
        ("a//b.png 0\n./a/./b.png 1\n", "train.txt:2 names the picture 'a/b.png' of .*train.txt:1 again"),
        ("a.png 0\nnew/4.png 1\n", "test.txt:1 names the picture 'new/4.png' of .*train.txt:2 again"),
        ("a.png 0\n", "test.txt:1 has the label 1, which no training picture has"),
        ("/etc/hosts.png 0\n", "train.txt:1 .*leads out"),
        ("a/../../b.png 0\n", "train.txt:1 .*leads out"),
        (b"a\xff.png 0\n", "train.txt:1 is not UTF-8"),
        ("a.png 0\n".encode("utf-16"), "train.txt:1 is not UTF-8"),
        ("a.png 0\rb.png 1\r", "train.txt:1 has the control character"),
        (b"a\0.png 0\n", "train.txt:1 has the control character"),
        ("a" * (1 << 20) + " 0\n", "train.txt:1 has more than"),
    ],
)
def test_wrong_lists_are_refused_with_file_and_line(folder, train, message):
    with pytest.raises(UserError, match=message):
        opened(folder, train, test="test.txt")


def test_a_link_that_leads_out_of_the_folder_is_refused_and_one_inside_is_not(folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "1.png").write_bytes(b"")
    (folder / "inner").symlink_to(folder / "cat")
    assert list(opened(folder, "inner/1.png 0\n").items("train"))
    (folder / "outer").symlink_to(tmp_path / "secret")
    (folder / "cat" / "link.png").symlink_to(tmp_path / "secret" / "1.png")
    for name in ("outer/1.png", "cat/link.png"):
        with pytest.raises(UserError, match=f"train.txt:2.*{name}.*leads out"):
            list(opened(folder, f"cat/1.png 0\n{name} 0\n").items("train"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs the option train"),
        ({"train": "gone.txt"}, "gone.txt is no file"),
        ({"train": "cat"}, "cat is no file"),
        ({"train": 3}, "option train is 3"),
        ({"train": "train.txt", "val": ["a"]}, "option val is"),
        ({"train": "train.txt", "test": "fifo"}, "fifo is no file"),
        ({"train": "train.txt", "classes": "gone.txt"}, "gone.txt is no file"),
    ],
)
def test_wrong_options(folder, options, message):
    os.mkfifo(folder / "fifo")
    with pytest.raises(UserError, match=message):
        open_source("list", folder, **options)


def test_a_file_in_place_of_the_folder(folder):
    with pytest.raises(UserError, match="is no folder"):
        open_source("list", folder / "train.txt", train="train.txt")


def test_many_lines_are_kept_in_few_bytes(folder):
    lines = "".join(f"train_val2018/Plantae/{i % 500}/{i:032x}.jpg {i % 500}\n" for i in range(20_000))
    tracemalloc.start()
    try:
        source = opened(folder, lines)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(source.classes) == 500
    assert kept < 120 * 20_000 and peak < 260 * 20_000


DAMAGE = [b"", b" ", b"\n", b"/", b"../", b"\0", b"9", b"-", b"\xff", b"\xed\xa0\x80", b"\xc2\x85", b"\r"]


def test_whatever_is_in_a_list_it_opens_or_is_refused(folder):
    good = TRAIN.encode()
    for seed in range(400):
        draw = random.Random(seed)
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data) + 1)
            data[at : at + draw.choice([0, 0, 1, 5])] = draw.choice([*DAMAGE, draw.randbytes(3)])
        with contextlib.suppress(UserError):
            list(opened(folder, bytes(data), test="test.txt").items("train"))
