"""Built shard sets as a source: cut anew, merged, sampled."""

import json
import pickle
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made_sources import ListSource, counted, encoded, pixels

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.data.sources._stored_item import RecordReader
from fastlt.errors import UserError


def multi(rows, classes, split="train", prefix="", label_default=0):
    """Several labels an image: each row is (labels, unknown, negative)."""
    items = [Item(f"{prefix}{i}.png", encoded(pixels(i)), *row) for i, row in enumerate(rows)]
    source = ListSource({split: items}, multi_label=True)
    source.classes, source.label_default = classes, label_default
    return source


def built(source, out, **settings):
    build(source, out, workers=1, **{"val": 0, **settings})
    return out


def content(source, split="train"):
    return [(item.id, item.labels, item.unknown, item.negative) for item in source.items(split)]


def records(folder):
    with ShardSet(folder) as shards:
        rows = np.arange(len(shards))
        return (
            shards.ids(rows),
            [record.tobytes() for record in shards.read(rows)],
            shards.labels(rows).tolist(),
            shards.shapes(rows).tolist(),
            shards.manifest["label_default"],
            shards.manifest.get("attributes", {}),
            shards.classes,
        )


PARTIAL = [((0,), (2,), ()), ((1, 2), (), ()), ((), (0, 1), ())]
VERIFIED = [((0,), (), (2,)), ((1, 2), (), ()), ((), (), (0, 1))]


class TestAgain:
    """A set that is read and built with the same settings stays what it is."""

    @pytest.mark.parametrize("raw", [False, True])
    def test_with_one_label(self, tmp_path, raw):
        a = built(counted([9, 4, 2]), tmp_path / "a", val=0.3, raw=raw, shard_mb=0.003)
        source = open_source("shards", a)
        assert source.splits == ("train", "val") and source.default_val == 0.0 and not source.multi_label
        built(source, tmp_path / "b", val=None, raw=None, shard_mb=0.003)
        for split in ("train", "val"):
            assert records(a / split) == records(tmp_path / "b" / split)
            for shard in (a / split).glob("*.h5"):
                assert shard.read_bytes() == (tmp_path / "b" / split / shard.name).read_bytes()

    @pytest.mark.parametrize(("rows", "label_default"), [(PARTIAL, 0), (VERIFIED, -1)])
    def test_with_several_labels_of_which_some_are_unknown(self, tmp_path, rows, label_default):
        made = multi(rows, ["a", "b", "c"], label_default=label_default)
        made.attributes = {"letter": [0, 1], "other": [2]}
        a = built(made, tmp_path / "a")
        source = open_source("shards", a)
        assert source.label_default == label_default and source.attributes == made.attributes and not source.problems
        assert [row[1:] for row in content(source)] == rows
        b = built(source, tmp_path / "b")
        assert records(a / "train") == records(b / "train")
        assert (a / "train/shard-00000.h5").read_bytes() == (b / "train/shard-00000.h5").read_bytes()

    def test_with_labels_unknown_by_default_in_training_alone(self, tmp_path):
        a = built(multi(VERIFIED, ["a", "b", "c"], label_default=-1), tmp_path / "a")
        other = multi([((0,), (), ())], ["a", "b", "c"])
        other.splits, other._items["test"] = ("train", "test"), other._items["train"]
        shutil.copytree(built(other, tmp_path / "o") / "test", a / "test")
        source = open_source("shards", a)
        assert source.label_default == -1
        assert content(source, "test") == [("0.png", (0,), (), (1, 2))]


class TestReading:
    def test_pictures_are_read_only_when_asked_for(self, tmp_path, monkeypatch):
        a = built(counted([3, 2]), tmp_path / "a")
        source = open_source("shards", a)
        asked = []
        read = ShardSet.read
        monkeypatch.setattr(ShardSet, "read", lambda self, rows: asked.append(list(rows)) or read(self, rows))
        items = list(source.items("train"))
        assert not asked
        assert items[3].image == encoded(pixels(3)) and asked == [[3]]

    def test_items_can_be_changed_and_compared_like_any_other(self, tmp_path):
        source = open_source("shards", built(counted([3, 2]), tmp_path / "a"))
        item = next(source.items("train"))
        changed = replace(item, labels=(1,))
        assert (changed.labels, changed.image) == ((1,), item.image) and changed != item
        assert replace(changed, labels=(0,)) == item and pickle.loads(pickle.dumps(changed)) == changed

    def test_the_same_items_come_every_time_across_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fastlt.data.sources.shards.CHUNK", 2)
        a = built(counted([3, 2]), tmp_path / "a")
        source = open_source("shards", a)
        assert content(source) == content(source)
        assert [labels for _, labels, *_ in content(source)] == [(0,), (0,), (0,), (1,), (1,)]

    def test_what_was_used_is_described_by_name_and_checksum(self, tmp_path):
        a = built(counted([3, 2]), tmp_path / "a")
        checksum = json.loads((a / "train/dataset.json").read_text())["checksum"]
        described = open_source("shards", a).describe()
        assert described == {
            "name": "shards",
            "pool": False,
            "sets": [{"name": "list", "manifests": {"train": checksum}}],
        }


def test_a_recipe_makes_it_long_tailed(tmp_path):
    a = built(counted([20, 20, 20], image=pixels(1)), tmp_path / "a")
    report = build(open_source("shards", a), tmp_path / "b", Recipe("exponential", 10), workers=1)
    assert report.splits["train"]["counts"] == [20, 6, 2] and set(report.splits) == {"train"}


class TestPool:
    def test_validation_is_cut_anew(self, tmp_path):
        a = built(counted([9, 6]), tmp_path / "a", val=0.3)
        with pytest.raises(UserError, match="brings its own val"):
            build(open_source("shards", a), tmp_path / "x", val=0.5, workers=1)
        source = open_source("shards", a, pool=True)
        assert source.splits == ("train",) and source.default_val == 0.1
        assert sorted(id for id, *_ in content(source)) == sorted(f"{i}.png" for i in range(15))
        report = build(source, tmp_path / "b", val=1 / 3, workers=1)
        assert report.splits["train"]["counts"] == [6, 4] and report.splits["val"]["counts"] == [3, 2]

    def test_an_id_of_train_and_val_gets_the_split_in_front(self, tmp_path):
        made = counted([1, 1])
        made.splits, made._items["val"] = ("train", "val"), made._items["train"]
        source = open_source("shards", built(made, tmp_path / "a", val=None), pool=True)
        assert [id for id, *_ in content(source)] == ["train/0.png", "train/1.png", "val/0.png", "val/1.png"]

    @pytest.mark.parametrize("value", ["yes", 1, None])
    def test_is_true_or_false(self, tmp_path, value):
        a = built(counted([1, 1]), tmp_path / "a")
        with pytest.raises(UserError, match="choose true or false"):
            open_source("shards", a, pool=value)


class TestMerge:
    def test_sets_of_the_same_classes_are_appended(self, tmp_path):
        a = built(counted([2, 1]), tmp_path / "a")
        made = counted([1, 1])
        made._items["train"] = [replace(item, id=f"more {item.id}") for item in made._items["train"]]
        b = built(made, tmp_path / "b")
        source = open_source("shards", a, also=str(b))
        found = [(id, labels) for id, labels, *_ in content(source)]
        assert found == [("0.png", (0,)), ("1.png", (0,)), ("2.png", (1,)), ("more 0.png", (0,)), ("more 1.png", (1,))]
        c = built(source, tmp_path / "c")
        assert records(c / "train")[1] == records(a / "train")[1] + records(b / "train")[1]

    def test_a_shared_id_puts_the_position_in_front_of_all(self, tmp_path):
        a, b = built(counted([1, 1]), tmp_path / "a"), built(counted([2, 1]), tmp_path / "b")
        found = [id for id, *_ in content(open_source("shards", a, also=[b]))]
        assert found == ["0/0.png", "0/1.png", "1/0.png", "1/1.png", "1/2.png"]

    def test_other_classes_are_merged_by_name_in_order_of_first_appearance(self, tmp_path):
        first, second = counted([1, 1]), counted([1, 1, 1])
        first.classes, second.classes = ["cat", "ant"], ["bee", "ant", "cow"]
        source = open_source("shards", built(first, tmp_path / "a"), also=str(built(second, tmp_path / "b")))
        assert source.classes == ["cat", "ant", "bee", "cow"]
        assert [labels for _, labels, *_ in content(source)] == [(0,), (1,), (2,), (1,), (3,)]

    def test_a_class_that_a_set_of_several_labels_lacks_is_unknown_for_its_images(self, tmp_path):
        a = built(multi([((0,), (1,), ()), ((), (), ())], ["x", "y"]), tmp_path / "a")
        b = built(multi([((0, 1), (), ())], ["z", "y"], prefix="b"), tmp_path / "b")
        source = open_source("shards", a, also=str(b))
        assert source.classes == ["x", "y", "z"] and source.label_default == 0
        assert [row[1:] for row in content(source)] == [((0,), (1, 2), ()), ((), (2,), ()), ((1, 2), (0,), ())]
        told = [(place, what) for place, what in source.problems if "unknown" in what]
        assert [place for place, _ in told] == [str(a), str(b)]
        assert "1 classes of other sets ('z' ...) are unknown" in told[0][1]

    def test_a_set_that_knows_only_what_it_lists_makes_all_of_that_kind(self, tmp_path):
        a = built(multi([((0,), (), ())], ["x", "y"]), tmp_path / "a")
        b = built(multi([((1,), (), (0,)), ((), (), ())], ["x", "z"], prefix="b", label_default=-1), tmp_path / "b")
        source = open_source("shards", a, also=str(b))
        assert source.label_default == -1
        assert [row[1:] for row in content(source)] == [((0,), (), (1,)), ((2,), (), (0,)), ((), (), ())]
        rows = records(built(source, tmp_path / "c") / "train")[2]
        assert rows == [[1, 0, -1], [0, -1, 1], [-1, -1, -1]]

    def test_attributes_stay_where_all_have_the_same_classes(self, tmp_path):
        made = [multi(PARTIAL, ["a", "b", "c"], prefix=p) for p in "xyz"]
        made[0].attributes = made[1].attributes = {"letter": [0, 1, 2]}
        a, b, c = (built(m, tmp_path / name) for m, name in zip(made, "abc", strict=True))
        assert open_source("shards", a, also=str(b)).attributes == {"letter": [0, 1, 2]}
        with pytest.raises(UserError, match="other groups of attributes"):
            open_source("shards", a, also=str(c))
        d = built(multi(PARTIAL, ["a", "b", "d"], prefix="d"), tmp_path / "d")
        source = open_source("shards", a, also=str(d))
        assert source.attributes == {} and any("attributes are dropped" in what for _, what in source.problems)

    def test_splits_are_merged_with_their_like(self, tmp_path):
        a = built(counted([4, 4]), tmp_path / "a", val=0.25)
        b = built(counted([2, 2]), tmp_path / "b")
        source = open_source("shards", a, also=str(b), overlap="keep")
        assert source.splits == ("train", "val")
        assert (len(content(source)), len(content(source, "val"))) == (10, 2)

    def test_one_label_and_several_do_not_mix(self, tmp_path):
        a, b = built(counted([1, 1]), tmp_path / "a"), built(multi(PARTIAL, ["a", "b", "c"]), tmp_path / "b")
        with pytest.raises(UserError, match=r"/a has one label an image, .*/b has several"):
            open_source("shards", b, also=str(a))

    def test_classes_of_one_name_cannot_be_told_apart(self, tmp_path):
        first, second = counted([1, 1]), counted([1, 1])
        first.classes = ["a", "a"]
        a, b = built(first, tmp_path / "a"), built(second, tmp_path / "b")
        with pytest.raises(UserError, match="two classes of one name"):
            open_source("shards", a, also=str(b))


def of_three(tmp_path, name, **numbers):
    """A set with the splits named, of pictures with the given numbers."""
    items = {
        split: [Item(f"{name}-{split}-{n}.png", encoded(pixels(n)), (n % 2,)) for n in own]
        for split, own in numbers.items()
    }
    return built(ListSource(items), tmp_path / name, val=None)


class TestOverlap:
    """What one set trains on must not be what another is measured on."""

    def test_a_picture_that_is_trained_on_here_and_tested_on_there_is_refused_by_its_bytes(self, tmp_path):
        a = of_three(tmp_path, "a", train=[0, 1, 2, 3, 4], test=[10, 11])
        b = of_three(tmp_path, "b", train=[20, 21], test=[1, 4, 30])
        with pytest.raises(
            UserError, match=r"^2 images of .*/a/train, such as 'a-train-1.png', have the id .* in .*/b/test; --"
        ):
            open_source("shards", a, also=str(b))
        with pytest.raises(UserError, match=r"^2 images of .*/a/train, .* in .*/b/test;"):
            open_source("shards", b, also=str(a))

    def test_an_id_is_enough(self, tmp_path):
        a, b = (of_three(tmp_path, name, train=[n, n + 1], test=[n + 2]) for name, n in (("a", 0), ("b", 10)))
        made = counted([1, 1])
        made._items["train"] = [
            replace(i, id=f"{n}", image=encoded(pixels(50 + n))) for n, i in enumerate(made._items["train"])
        ]
        made.splits, made._items["test"] = ("train", "test"), [replace(made._items["train"][0], id="b-train-11.png")]
        made._items["test"][0] = replace(made._items["test"][0], image=encoded(pixels(60)))
        c = built(made, tmp_path / "c", val=None)
        assert open_source("shards", a, also=str(b)).splits == ("train", "test")
        with pytest.raises(UserError, match="^1 images of .*/b/train, such as 'b-train-11.png', .* in .*/c/test;"):
            open_source("shards", a, also=[str(b), str(c)])

    @pytest.mark.parametrize("chunk", [2, 256])
    def test_it_is_left_out_of_the_split_that_comes_first_or_kept_and_each_is_listed(
        self, tmp_path, monkeypatch, chunk
    ):
        monkeypatch.setattr("fastlt.data.sources.shards.CHUNK", chunk)
        a = of_three(tmp_path, "a", train=[0, 1, 2, 3], val=[4, 5], test=[10])
        b = of_three(tmp_path, "b", train=[20, 21, 10], test=[1, 5, 30])
        ids = {}
        for overlap in ("drop", "keep"):
            source = open_source("shards", a, also=str(b), overlap=overlap)
            ids[overlap] = {split: [id for id, *_ in content(source, split)] for split in source.splits}
            fate = {"drop": "left out", "keep": "both are kept"}[overlap]
            told = dict(source.problems)
            assert all(fate in what for what in told.values())
            assert sorted(place.rpartition(" ")[2] for place in told) == [
                "a-train-1.png",
                "a-val-5.png",
                "b-train-10.png",
            ]
        assert [i for i in ids["keep"]["train"] if i not in ids["drop"]["train"]] == ["a-train-1.png", "b-train-10.png"]
        assert ids["drop"]["val"] == ["a-val-4.png"] and ids["drop"]["test"] == ids["keep"]["test"]
        assert open_source("shards", a, also=str(b), overlap="drop").describe()["overlap"] == "drop"

    def test_validation_that_is_pooled_counts_as_training(self, tmp_path):
        a, b = of_three(tmp_path, "a", train=[0, 1], val=[2]), of_three(tmp_path, "b", train=[20, 21], test=[2])
        with pytest.raises(UserError, match="^1 images of .*/a/val, .* in .*/b/test;"):
            open_source("shards", a, also=str(b), pool=True)
        source = open_source("shards", a, also=str(b), pool=True, overlap="drop")
        assert [id for id, *_ in content(source)] == [
            "a-train-0.png",
            "a-train-1.png",
            "b-train-20.png",
            "b-train-21.png",
        ]

    def test_what_two_sets_train_on_is_kept_and_counted(self, tmp_path):
        a, b = of_three(tmp_path, "a", train=[0, 1]), of_three(tmp_path, "b", train=[1, 2])
        source = open_source("shards", a, also=str(b))
        assert len(content(source)) == 4
        assert list(source.problems) == [
            (str(a / "train"), f"1 of its images have the id or the picture of one in {b / 'train'}; both are kept")
        ]

    def test_equal_sums_are_not_equal_pictures(self, tmp_path, monkeypatch):
        a, b = of_three(tmp_path, "a", train=[0, 1, 2]), of_three(tmp_path, "b", train=[8, 9], test=[1, 7])
        constant = lambda self, rows: (np.zeros(len(rows), np.uint32), np.ones(len(rows), np.int64))  # noqa: E731
        monkeypatch.setattr(ShardSet, "sums", constant)
        with pytest.raises(UserError, match="^1 images of .* such as 'a-train-1.png'"):
            open_source("shards", a, also=str(b))

    def test_within_one_set_nothing_is_compared(self, tmp_path):
        assert open_source("shards", of_three(tmp_path, "a", train=[0, 1], test=[1])).splits == ("train", "test")

    @pytest.mark.parametrize("value", ["ignore", True, None, []])
    def test_only_three_choices(self, tmp_path, value):
        with pytest.raises(UserError, match="choose fail, drop, keep"):
            open_source("shards", of_three(tmp_path, "a", train=[0, 1]), overlap=value)


class TestReadingAhead:
    @pytest.fixture
    def shards(self, tmp_path):
        return ShardSet(built(counted([60, 60]), tmp_path / "a", shard_mb=0.02) / "train")

    @pytest.mark.parametrize("rows", [range(120), range(0, 120, 3), [5, 6, 7, 3, 3, 4, 119, 0, 1, 118, 119]])
    def test_gives_what_single_reads_give(self, shards, rows):
        read = RecordReader(shards)
        for row in rows:
            assert read(row) == shards.read([row])[0].tobytes() and pickle.loads(pickle.dumps(read))(row) == read(row)

    def test_records_asked_for_in_turn_are_read_together_others_alone(self, shards, monkeypatch):
        asked, read_set = [], ShardSet.read
        monkeypatch.setattr(ShardSet, "read", lambda self, rows: asked.append(len(rows)) or read_set(self, rows))
        read = RecordReader(shards)
        for row in range(120):
            read(row)
        assert asked == [1, 2, 4, 8, 16, 32, 57]
        asked.clear()
        for row in range(0, 120, 2):
            read(row)
        assert asked == [1] * 60
        monkeypatch.setattr("fastlt.data.sources._stored_item.BYTES_AHEAD", 3 * len(encoded(pixels(0))))
        asked.clear()
        for row in range(20):
            read(row)
        assert max(asked) <= 3

    def test_a_damaged_record_that_nobody_asks_for_does_no_harm(self, shards):
        path = shards.folder / "shard-00000.h5"
        data = path.read_bytes()
        at = data.index(encoded(pixels(3))) + 50
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        read = RecordReader(shards)
        assert [read(row) for row in (0, 1, 2, 4, 5)] == [encoded(pixels(row)) for row in (0, 1, 2, 4, 5)]
        with pytest.raises(UserError, match="record 3 .*is damaged"):
            read(3)


class TestRefused:
    @pytest.fixture
    def a(self, tmp_path):
        return built(counted([3, 3]), tmp_path / "a", val=0.3)

    def test_a_folder_without_train_and_a_split_itself(self, a, tmp_path):
        for folder in (tmp_path, a / "train"):
            with pytest.raises(UserError, match=r"has no train that `fastlt build` wrote; give the folder that holds"):
                open_source("shards", folder)

    @pytest.mark.parametrize(
        ("also", "message"),
        [
            ("nowhere", "nowhere has no train"),
            (3, "also is 3"),
            ([None], "also is None"),
            ({"a": 1}, "also is {"),
            ("a\0", "also is"),
        ],
    )
    def test_what_is_no_set_beside_it(self, a, also, message):
        with pytest.raises(UserError, match=message):
            open_source("shards", a, also=also)

    def test_the_same_set_twice(self, a):
        with pytest.raises(UserError, match="give each set once"):
            open_source("shards", a, also=str(a / ".." / "a"))

    def test_splits_of_different_data_sets(self, a, tmp_path):
        b = built(counted([3, 3, 3]), tmp_path / "b", val=0.3)
        shutil.rmtree(a / "val")
        shutil.copytree(b / "val", a / "val")
        with pytest.raises(UserError, match="a/val is not of the same data set as .*a/train"):
            open_source("shards", a)

    def test_a_build_that_is_not_finished(self, a):
        (a / "val" / "dataset.json").rename(a / "val" / "build.json")
        with pytest.raises(UserError, match="a/val is not finished"):
            open_source("shards", a)

    def test_a_damaged_picture_ends_the_build_and_is_named(self, a, tmp_path):
        path = a / "train" / "shard-00000.h5"
        data = path.read_bytes()
        at = data.index(encoded(pixels(0))) + 50
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(UserError, match="shard-00000.h5: record 0 .*is damaged"):
            build(open_source("shards", a), tmp_path / "b", workers=1)

    @pytest.mark.parametrize("name", ["dataset.json", "shard-00000.h5"])
    def test_a_byte_changed_anywhere_is_refused_or_changes_nothing(self, a, name):
        path = a / "train" / name
        good, items = path.read_bytes(), [(i.id, i.image, i.labels) for i in open_source("shards", a).items("train")]
        draw = random.Random(0)
        for _ in range(150):
            at = draw.randrange(len(good))
            path.write_bytes(good[:at] + bytes([good[at] ^ draw.randint(1, 255)]) + good[at + 1 :])
            try:
                assert [(i.id, i.image, i.labels) for i in open_source("shards", a).items("train")] == items
            except UserError:
                continue
