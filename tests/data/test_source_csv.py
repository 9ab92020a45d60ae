"""Pictures that a table describes."""

import random

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

FLIXSTOCK = """filename,neck,sleeve_length,pattern
1.png,0,3,9
2.png,6,#N/A,2
3.png,10,,#N/A
4.png,6,3,9
"""


@pytest.fixture
def folder(tmp_path):
    for number in range(1, 10):
        (tmp_path / f"{number}.png").write_bytes(encoded(pixels(number)))
    return tmp_path


def opened(folder, text, **options):
    (folder / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_source("csv", folder, **options)


def found(source):
    """Labels by name of every picture, over all splits."""
    items = sorted((item for split in source.splits for item in source.items(split)), key=lambda item: item.id)
    return {item.id: [source.classes[c] for c in item.labels] for item in items}


class TestOneLabel:
    def test_a_column_holds_the_label_and_the_first_one_the_path(self, folder):
        source = opened(folder, "file,kind\n1.png,cat\n2.png,ant\n3.png, cat \n", label="kind")
        assert source.classes == ["ant", "cat"] and not source.multi_label and source.attributes == {}
        assert found(source) == {"1.png": ["cat"], "2.png": ["ant"], "3.png": ["cat"]}
        assert all(item.image == folder / item.id for item in source.items("train")) and not source.problems

    def test_whole_numbers_are_in_numeric_order_and_a_column_may_be_called_by_a_number(self, folder):
        assert opened(folder, "f,7\n1.png,10\n2.png,9\n3.png,-1\n", label=7).classes == ["-1", "9", "10"]
        assert opened(folder, "f,7\n1.png,10\n2.png,9\n3.png,x\n", label=7).classes == ["10", "9", "x"]

    def test_the_same_picture_with_two_labels_is_left_out(self, folder):
        source = opened(folder, "f,k\n1.png,a\n2.png,a\n./1.png,b\n2.png,a\n3.png,b\n", label="k")
        assert found(source) == {"2.png": ["a"], "3.png": ["b"]}
        assert list(source.problems) == [
            ("table.csv line 4", "'1.png' is listed again with another 'k'; the picture is left out")
        ]

    def test_pictures_that_are_missing_or_have_no_label_are_left_out_and_listed(self, folder):
        source = opened(folder, "f,k\n1.png,a\nno.png,b\n2.png,#N/A\n3.png,\n3.png,c\n", label="k")
        assert found(source) == {"1.png": ["a"], "3.png": ["c"]} and source.classes == ["a", "c"]
        assert [place for place, _ in source.problems] == [f"table.csv line {n}" for n in (3, 4, 5, 6)]
        what = [reason for _, reason in source.problems]
        assert "'no.png' is no file" in what[0] and "no label" in what[1]


class TestAttributes:
    def test_each_column_is_a_group_and_a_missing_value_makes_its_group_unknown(self, folder):
        source = opened(folder, FLIXSTOCK, attributes="neck,sleeve_length,pattern")
        assert source.classes == ["neck=0", "neck=6", "neck=10", "sleeve_length=3", "pattern=2", "pattern=9"]
        assert source.attributes == {"neck": [0, 1, 2], "sleeve_length": [3], "pattern": [4, 5]}
        items = {item.id: item for split in source.splits for item in source.items(split)}
        assert source.multi_label and items["1.png"].labels == (0, 3, 5) and items["1.png"].unknown == ()
        assert items["2.png"].labels == (1, 4) and items["2.png"].unknown == (3,)
        assert items["3.png"].labels == (2,) and items["3.png"].unknown == (3, 4, 5)

    def test_an_attribute_that_rows_disagree_on_becomes_unknown_in_any_order(self, folder):
        rows = ["1.png,a,x", "1.png,b,x", "1.png,,x", "1.png,a,#N/A", "2.png,a,x", "3.png,b,x"]
        for seed in range(6):
            shuffled = random.Random(seed).sample(rows, len(rows))
            source = opened(folder, "\n".join(["f,u,v", *shuffled]), attributes=["u", "v"])
            items = {item.id: item for split in source.splits for item in source.items(split)}
            assert source.classes == ["u=a", "u=b", "v=x"]
            assert items["1.png"].labels == (2,) and items["1.png"].unknown == (0, 1)
            assert any("'u'; it becomes unknown" in reason for _, reason in source.problems)

    def test_a_known_value_counts_against_a_missing_one_and_is_listed(self, folder):
        source = opened(folder, "f,u\n1.png,-\n1.png,b\n2.png,?\n", attributes="u", missing="-,?")
        assert found(source)["1.png"] == ["u=b"]
        assert list(source.problems) == [
            ("table.csv line 3", "'1.png' is listed again, once without 'u'; the value that is known counts")
        ]

    def test_the_markers_survive_the_build(self, folder, tmp_path):
        text = FLIXSTOCK.replace("\n", ",train\n").replace(",train", ",split", 1)
        source = opened(folder, text, attributes=["neck", "pattern"], split="split")
        build(source, tmp_path / "out", val=0, workers=1)
        with ShardSet(tmp_path / "out" / "train") as shards:
            assert shards.labels(np.arange(4)).tolist() == [
                [1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, -1, -1], [0, 1, 0, 0, 1]
            ]  # fmt: skip


class TestLists:
    def test_a_cell_holds_labels_with_separators_between(self, folder):
        source = opened(folder, "f,tags\n1.png,sun| sky |sun\n2.png,\n3.png,sea|\n", labels="tags")
        assert source.classes == ["sea", "sky", "sun"] and source.multi_label
        assert found(source) == {"1.png": ["sky", "sun"], "2.png": [], "3.png": ["sea"]}
        assert found(opened(folder, 'f,tags\n1.png,"b,a"\n', labels="tags", separator=","))["1.png"] == ["a", "b"]

    def test_rows_of_the_same_picture_are_united_and_listed_where_they_differ(self, folder):
        text = "f,tags\n1.png,a\n2.png,c\n1.png,b|a\n2.png,c\n3.png,#N/A\n4.png,#N/A\n4.png,d\n"
        source = opened(folder, text, labels="tags")
        assert found(source) == {"1.png": ["a", "b"], "2.png": ["c"], "4.png": ["d"]}
        assert [place for place, _ in source.problems] == [f"table.csv line {n}" for n in (4, 6, 7, 8)]


class TestSplits:
    def test_a_column_names_them(self, folder):
        source = opened(folder, "f,k,s\n1.png,a,train\n2.png,a,TEST\n3.png,b,train\n", label="k", split="s")
        assert source.splits == ("train", "test") and source.default_val == 0.1
        assert [item.id for item in source.items("test")] == ["2.png"]

    @pytest.fixture
    def many(self, tmp_path):
        rows = []
        for number in range(200):
            (tmp_path / f"{number}.png").touch()
            rows.append(f"{number}.png,{'rare' if number < 3 else 'half' if number % 2 else 'other'}")
        return tmp_path, rows

    def split_of(self, folder, rows, **options):
        source = opened(folder, "\n".join(["f,k", *rows]), label="k", **options)
        return source, {item.id: split for split in source.splits for item in source.items(split)}

    def test_without_one_it_is_80_10_10_of_every_class(self, many):
        source, of = self.split_of(*many)
        sizes = {split: list(of.values()).count(split) for split in source.splits}
        assert sizes == pytest.approx({"train": 160, "val": 20, "test": 20}, abs=2) and source.default_val == 0
        for split in ("val", "test"):
            labels = [source.classes[item.labels[0]] for item in source.items(split)]
            assert 8 <= labels.count("half") <= 12
        assert any(item.labels == (source.classes.index("rare"),) for item in source.items("train"))

    def test_the_order_of_rows_does_not_matter_and_the_seed_does(self, many):
        folder, rows = many
        first = self.split_of(folder, rows)[1]
        assert self.split_of(folder, random.Random(0).sample(rows, len(rows)))[1] == first
        assert self.split_of(folder, rows, split_seed=1)[1] != first

    def test_a_class_of_one_picture_is_in_training(self, folder):
        source = opened(folder, "f,k\n" + "".join(f"{n}.png,{n}\n" for n in range(1, 10)), label="k")
        assert source.splits == ("train",) and len(list(source.items("train"))) == 9


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_byte_order_marks_and_line_ends_are_found(folder, delimiter, start, end):
    text = end.join([delimiter.join(row) for row in (['"the, file"', "k"], ["1.png", "ä"], ["2.png", "b"])])
    source = opened(folder, start + text.encode(), label="k", path="the, file")
    assert found(source) == {"1.png": ["ä"], "2.png": ["b"]}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("f,k\n1.png,a\n2.png\n", {"label": "k"}, "table.csv line 3 has 1 cells, its first row 2"),
        ("f,k\n1.png,a,b\n", {"label": "k"}, "table.csv line 2 has 3 cells"),
        ("", {"label": "k"}, "table.csv is empty"),
        ("f,k\n", {"label": "k"}, "names no picture that is below"),
        ("f,k\nno.png,a\n", {"label": "k"}, "names no picture that is below"),
        ("f,k\n1.png,\n", {"label": "k"}, "column 'k' has no value"),
        ("f,k\n1.png,\n", {"labels": "k"}, "gives no picture a label"),
        ("f,k\n1.png,#N/A\n", {"attributes": "k"}, "column 'k' has no value"),
        (b"f,k\n1.png,\xff\n", {"label": "k"}, r"is not UTF-8 text \(after line \d: "),
        ("f,k\n1.png,a".encode("utf-16"), {"label": "k"}, "is not UTF-8 text"),
        ('f,k\n1.png,"a\n', {"label": "k"}, "is no row of a table"),
        ("f,k\n1.png," + "a" * 200_000, {"label": "k"}, "line 2 is no row of a table"),
        ("f,k\n../1.png,a\n", {"label": "k"}, "line 2 .*leads out"),
        ("f,k\n/etc/passwd,a\n", {"label": "k"}, "line 2 .*leads out"),
        ("f,k\n,a\n", {"label": "k"}, "line 2 .*no file can be called"),
        ("f,k\n1.png\0,a\n", {"label": "k"}, "line 2"),
        ("f,k,k\n1.png,a,b\n", {"label": "k"}, "has 2 columns named 'k'"),
        ("f,k\n1.png,a\n", {"label": "x"}, "has no columns named 'x'; name one of 'f', 'k'"),
        ("f,k\n1.png,a\n", {"label": "k", "path": "x"}, "no columns named 'x'"),
        ("f,k\n1.png,a\n", {"label": ["k"]}, "one name as label"),
        ("f,k\n1.png,a\n", {"attributes": "k,k"}, "a name twice in attributes"),
        ("f,a=b,a\n1.png,c,b=c\n", {"attributes": "a=b,a"}, "the same class"),
        ("f,k\n1.png,a\n", {}, "exactly one of the options"),
        ("f,k\n1.png,a\n", {"label": "k", "labels": "k"}, "exactly one of the options"),
        ("f,k\n1.png,a\n", {"label": "k", "file": "other.csv"}, "other.csv is no file"),
        ("f,k\n1.png,a\n", {"label": "k", "split_seed": "x"}, "whole number"),
        ("f,k,s\n1.png,a,no\n", {"label": "k", "split": "s"}, "line 2 has the split 'no'"),
        ("f,k,s\n1.png,a,train\n1.png,a,test\n", {"label": "k", "split": "s"}, "line 3 puts '1.png' into test"),
        ("f,k,s\n1.png,a,test\n", {"label": "k", "split": "s"}, "no picture for training"),
    ],
)
def test_wrong_tables(folder, text, options, message):
    with pytest.raises(UserError, match=message):
        opened(folder, text, **options)


def test_links_out_of_the_folder_are_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.png").write_bytes(encoded(pixels(0)))
    (folder / "x.png").symlink_to(outside / "x.png")
    (folder / "deep").symlink_to(outside)
    for name in ("x.png", "deep/x.png"):
        with pytest.raises(UserError, match="line 2.*leads out"):
            opened(folder, f"f,k\n{name},a\n", label="k")


def test_the_table_must_be_named_where_there_are_several_or_none(folder):
    with pytest.raises(UserError, match="holds none"):
        open_source("csv", folder, label="k")
    (folder / "other.csv").touch()
    with pytest.raises(UserError, match=r"holds other.csv, table.csv"):
        opened(folder, "f,k\n1.png,a\n", label="k")
    assert open_source("csv", folder, label="k", file="table.csv").classes == ["a"]


@pytest.mark.parametrize("kind", ["label", "attributes", "labels"])
def test_a_damaged_table_opens_or_is_refused(folder, kind):
    random_ = random.Random(kind)
    text = b"f,k,s\n1.png,a|b,train\n2.png,b,train\n3.png,#N/A,test\n4.png,,val\n2.png,a,train\n"
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(text)
        for _ in range(random_.randint(1, 3)):
            at, what = random_.randrange(len(damaged)), random_.randrange(3)
            piece = random_.choice([b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"..", b"/", b";;;", b"9" * 5000])
            damaged[at : at + what] = piece if what < 2 else bytes([random_.randrange(256)])
        try:
            source = opened(folder, bytes(damaged), **{kind: "k"}, split="s" if random_.random() < 0.5 else None)
            listed = [item for split in source.splits for item in source.items(split)]
            assert listed and all(0 <= c < len(source.classes) for item in listed for c in item.labels + item.unknown)
            outcomes.add("opened")
        except UserError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"opened", "refused"}
