"""COCO and LVIS from their JSON files."""

import json
import random
import tracemalloc

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
PERSON, CAR, DOG = 0, 1, 2
TRAIN, VAL = "annotations/instances_train2017.json", "annotations/instances_val2017.json"


def box(image, category, **values):
    return {"image_id": image, "category_id": category, "bbox": [1.5, 2, 30, 40.25], "area": 500.5, **values}


def image(id, **values):
    return {"id": id, "file_name": f"{id:012d}.jpg", "coco_url": f"http://x.org/train2017/{id:012d}.jpg", **values}


def lvis_image(id, folder, negative, partly=()):
    url = f"http://images.cocodataset.org/{folder}/{id}.jpg"
    return {"id": id, "coco_url": url, "neg_category_ids": negative, "not_exhaustive_category_ids": list(partly)}


def content():
    return {
        "info": {"year": 2017},
        "images": [image(9), image(4), image(7)],
        "annotations": [box(4, 18, iscrowd=0, segmentation=[[1, 2.5, 3]]), box(9, 1), box(4, 1, iscrowd=1), box(9, 1)],
        "categories": [dict(category) for category in CATEGORIES],
    }


def write(root, name, value):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "coco"
    write(folder, TRAIN, content())
    (folder / "train2017").mkdir()
    for id in (9, 4, 7):
        (folder / "train2017" / f"{id:012d}.jpg").write_bytes(encoded(pixels(id), "JPEG"))
    return folder


@pytest.fixture
def with_val(root):
    write(root, VAL, {**content(), "images": [image(1)], "annotations": [box(1, 3)]})
    (root / "val2017").mkdir()
    (root / "val2017" / f"{1:012d}.jpg").write_bytes(encoded(pixels(1), "JPEG"))
    return root


@pytest.fixture
def lvis(tmp_path):
    root = tmp_path / "lvis"
    train = {
        "images": [lvis_image(5, "train2017", [3]), lvis_image(6, "train2017", [1, 18], partly=[3])],
        "annotations": [box(5, 18), box(6, 3)],
        "categories": CATEGORIES,
    }
    val = {**train, "images": [lvis_image(7, "train2017", [1]), lvis_image(8, "val2017", [])]}
    val["annotations"] = [box(7, 3)]
    write(root, "annotations/lvis_v1_train.json", train)
    write(root, "annotations/lvis_v1_val.json", val)
    for name in ("train2017/5", "train2017/6", "train2017/7", "val2017/8"):
        path = root / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(pixels(int(path.stem)), "JPEG"))
    return root


LVIS = {"train": "annotations/lvis_v1_train.json"}


def labels(source, split="train"):
    return [item.labels for item in source.items(split)]


class TestCoco:
    def test_classes_are_the_categories_by_id(self, root):
        source = open_source("coco", root)
        assert source.classes == ["person", "car", "dog"] and source.multi_label and source.label_default == 0

    def test_an_image_has_the_classes_of_its_boxes(self, root):
        items = list(open_source("coco", root).items("train"))
        assert [(item.id, item.labels) for item in items] == [
            ("000000000009.jpg", (PERSON,)),
            ("000000000004.jpg", (PERSON, DOG)),
            ("000000000007.jpg", ()),
        ]
        assert items[1].image == root / "train2017" / "000000000004.jpg"

    def test_the_lists_may_come_in_any_order(self, root):
        expected = labels(open_source("coco", root))
        write(root, TRAIN, dict(reversed(content().items())))
        assert labels(open_source("coco", root)) == expected

    def test_the_validation_file_beside_it_is_the_test_split(self, with_val):
        source = open_source("coco", with_val)
        assert source.splits == ("train", "test") and labels(source, "test") == [(CAR,)]
        assert source.describe()["files"] == {"train": "instances_train2017.json", "test": "instances_val2017.json"}

    def test_without_that_file_or_where_none_is_wanted_there_is_no_test_split(self, root, with_val):
        assert open_source("coco", with_val, test=None).splits == ("train",)
        (with_val / VAL).unlink()
        assert open_source("coco", with_val).splits == ("train",)

    def test_boxes_around_crowds_can_be_overlooked(self, root):
        assert labels(open_source("coco", root, crowd="drop")) == [(PERSON,), (DOG,), ()]

    def test_images_without_a_positive_class_can_be_left_out(self, root):
        assert labels(open_source("coco", root, empty="drop")) == [(PERSON,), (PERSON, DOG)]

    @pytest.mark.parametrize(
        ("flaw", "reason"),
        [
            ({"bbox": [0, 0, 0.5, 9]}, "its box of 0.5 x 9 is smaller than a pixel"),
            ({"bbox": [0, 0, 9, -3]}, "its box of 9 x -3 is smaller than a pixel"),
            ({"area": 0}, "its area is 0"),
            ({"area": -2.5}, "its area is -2.5"),
        ],
    )
    def test_a_box_of_nothing_gives_no_label_and_is_listed(self, root, flaw, reason):
        write(root, TRAIN, {**content(), "annotations": [box(4, 1), box(4, 18, **flaw)]})
        source = open_source("coco", root)
        assert labels(source) == [(), (PERSON,), ()]
        place = "instances_train2017.json: annotations[1]"
        assert list(source.problems) == [(place, f"{reason}, so it gives no label")]

    def test_a_box_may_reach_over_the_border(self, root):
        write(root, TRAIN, {**content(), "annotations": [box(4, 1, bbox=[-3, -0.5, 30, 40])]})
        assert labels(open_source("coco", root))[1] == (PERSON,)

    def test_folders_of_pictures_can_be_elsewhere(self, with_val):
        (with_val / "pictures").mkdir()
        (with_val / "train2017").rename(with_val / "pictures" / "train")
        source = open_source("coco", with_val, images_train="pictures/train")
        assert next(source.items("train")).image.is_file()

    def test_the_splits_may_have_folders_and_files_of_the_same_names(self, root):
        for split in ("a", "b"):
            (root / split / "images").mkdir(parents=True)
        write(root, VAL, content())
        source = open_source("coco", root, images_train="a/images", images_test="b/images")
        assert len(labels(source)) == len(labels(source, "test")) == 3

    def test_it_builds(self, with_val, tmp_path):
        report = build(open_source("coco", with_val), tmp_path / "out", val=0, workers=1)
        assert report.splits["train"]["records"] == 3 and report.splits["test"]["records"] == 1 and not report.bad
        with ShardSet(tmp_path / "out" / "train") as shards:
            assert shards.labels(np.arange(3)).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]


class TestLvis:
    def test_only_listed_classes_are_known(self, lvis):
        source = open_source("coco", lvis, **LVIS)
        assert source.label_default == -1
        found = [(item.id, item.labels, item.negative) for item in source.items("train")]
        assert found == [("train2017/5.jpg", (DOG,), (CAR,)), ("train2017/6.jpg", (CAR,), (PERSON, DOG))]

    def test_pictures_lie_where_their_url_says(self, lvis):
        items = list(open_source("coco", lvis, **LVIS).items("test"))
        assert [item.image for item in items] == [lvis / "train2017" / "7.jpg", lvis / "val2017" / "8.jpg"]

    def test_the_folders_named_in_urls_can_be_elsewhere(self, lvis, tmp_path):
        (lvis / "train2017").rename(tmp_path / "train2017")
        source = open_source("coco", lvis, **LVIS, images_train=str(tmp_path / "train2017"))
        assert next(source.items("train")).image.is_file()

    def test_a_box_outweighs_the_list_of_absent_categories(self, lvis):
        value = json.loads((lvis / LVIS["train"]).read_text())
        value["images"][0]["neg_category_ids"] = [18, 3]
        write(lvis, LVIS["train"], value)
        source = open_source("coco", lvis, **LVIS)
        item = next(source.items("train"))
        assert (item.labels, item.negative) == ((DOG,), (CAR,))
        assert list(source.problems) == [
            ("lvis_v1_train.json: image 5", "'dog' has a box but is listed as absent; it counts as present")
        ]

    def test_file_names_will_do_where_there_are_no_urls(self, lvis):
        value = json.loads((lvis / LVIS["train"]).read_text())
        for entry in value["images"]:
            entry["file_name"] = entry.pop("coco_url").split("/")[-1]
        write(lvis, LVIS["train"], value)
        assert next(open_source("coco", lvis, **LVIS, test=None).items("train")).id == "5.jpg"

    def test_it_builds(self, lvis, tmp_path):
        build(open_source("coco", lvis, **LVIS), tmp_path / "out", val=0, workers=1)
        with ShardSet(tmp_path / "out" / "train") as shards:
            assert shards.labels(np.arange(2)).tolist() == [[-1, 0, 1], [0, 1, 0]]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"neg_category_ids": [99]}, "category 99 is referred to but not listed"),
            ({"neg_category_ids": ["dog"]}, "needs a whole number as neg_category_ids"),
            ({"neg_category_ids": None}, "needs a list of whole numbers as neg_category_ids"),
            ({"not_exhaustive_category_ids": [98]}, "category 98 is referred to but not listed"),
            ({"not_exhaustive_category_ids": 3}, "needs a list of whole numbers as not_exhaustive_category_ids"),
            ({"coco_url": "http://x.org/train2017/../1.jpg"}, "leads out of the folder"),
            ({"coco_url": "http://x.org/test2017/1.jpg"}, "pictures in 'test2017'; give it as images_train"),
            ({"coco_url": "1.jpg"}, "does not end in FOLDER/FILE"),
            ({"coco_url": 5}, "needs a text as coco_url"),
        ],
    )
    def test_wrong_images(self, lvis, change, message):
        value = json.loads((lvis / LVIS["train"]).read_text())
        value["images"][0] |= change
        write(lvis, LVIS["train"], value)
        with pytest.raises(UserError, match=message):
            open_source("coco", lvis, **LVIS)

    def test_either_all_images_are_of_lvis_or_none(self, lvis):
        value = json.loads((lvis / LVIS["train"]).read_text())
        value["images"][1] = image(6)
        write(lvis, LVIS["train"], value)
        with pytest.raises(UserError, match=r"images\[1\] differs from images\[0\] in having neg_category_ids"):
            open_source("coco", lvis, **LVIS)

    def test_training_and_testing_are_of_one_kind(self, lvis):
        write(lvis, "annotations/lvis_v1_val.json", {**content(), "annotations": [box(4, 1)]})
        with pytest.raises(UserError, match="lvis_v1_val.json has neg_category_ids, or lacks it"):
            open_source("coco", lvis, **LVIS)


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"train": "annotations/none.json"}, "none.json is missing; give the file's path"),
            ({"train": "annotations"}, "annotations is missing"),
            ({"train": 5}, "train is 5; give a path"),
            ({"test": ""}, "test is ''; give a path"),
            ({"test": TRAIN, "images_test": "train2017"}, "a second time"),
            ({"images_train": "train2014"}, "train2014 is no folder"),
            ({"images_test": None}, "images_test is None"),
            ({"crowd": "maybe"}, "crowd is 'maybe'; choose keep or drop"),
            ({"empty": True}, "empty is True; choose keep or drop"),
        ],
    )
    def test_wrong_options(self, root, options, message):
        with pytest.raises(UserError, match=message):
            open_source("coco", root, **options)

    def test_a_file_is_no_folder(self, tmp_path):
        write(tmp_path, "coco.zip", "")
        with pytest.raises(UserError, match="coco.zip is no folder"):
            open_source("coco", tmp_path / "coco.zip")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": [image(9), image(4), image(9, file_name="b.jpg")]}, "lists image 9 twice"),
            ({"images": [image(9), image(4), image(7, file_name="000000000009.jpg")]}, "a second time"),
            ({"images": [image(9)]}, "image 4 is referred to but not listed"),
            ({"images": []}, "has no list of images"),
            ({"images": {"id": 3}}, "has no list of images"),
            ({"images": [3]}, r"images\[0\] is '3', not an object"),
            ({"images": [[image(9)]]}, r"images\[0\] is .*, not an object"),
            ({"images": [{"file_name": "1.jpg"}]}, "needs a whole number as id, not 'None'"),
            ({"images": [{"id": "1", "file_name": "1.jpg"}]}, "needs a whole number as id, not '1'"),
            ({"images": [{"id": True, "file_name": "1.jpg"}]}, "needs a whole number as id, not 'True'"),
            ({"images": [{"id": 10**30, "file_name": "1.jpg"}]}, "no JSON|needs a whole number as id"),
            ({"images": [{"id": 1}]}, "needs a text as file_name"),
            ({"images": [image(9, file_name="/etc/passwd")]}, "leads out of the folder"),
            ({"images": [image(9, file_name="a/../../b.jpg")]}, "leads out of the folder"),
            ({"images": [image(9, file_name="a\0b")]}, "no file can be called"),
            ({"annotations": []}, "has no list of annotations"),
            ({"annotations": [box(4, 2)]}, "category 2 is referred to but not listed"),
            ({"annotations": [box(4, 2, area=0)]}, "category 2 is referred to but not listed"),
            ({"annotations": [box(4, None)]}, r"annotations\[0\] needs a whole number as category_id"),
            ({"annotations": [box(4, 1), box(4.5, 1)]}, r"annotations\[1\] needs a whole number as image_id"),
            ({"annotations": [box(4, 1, bbox=[1, 2, 3])]}, "needs a bbox of four finite numbers"),
            ({"annotations": [box(4, 1, bbox=[1, 2, 3, "4"])]}, "needs a bbox of four finite numbers"),
            ({"annotations": [box(4, 1, bbox=None)]}, "needs a bbox of four finite numbers"),
            ({"annotations": [box(4, 1, area=None)]}, "and a finite area"),
            ({"annotations": [box(4, 1, area=float("nan"))]}, "no JSON"),
            ({"annotations": [box(4, 1, iscrowd="no")]}, "iscrowd 'no'; it must be 0 or 1"),
            ({"annotations": [box(4, 1, iscrowd=[1])]}, "it must be 0 or 1"),
            ({"categories": []}, "has no list of categories"),
            ({"categories": [*CATEGORIES, {"id": 1, "name": "cat"}]}, "id 1 of another category"),
            ({"categories": [*CATEGORIES, {"id": 2, "name": "dog"}]}, "two categories of the name 'dog'"),
            ({"categories": [*CATEGORIES, {"id": 2, "name": ""}]}, "needs a text as name"),
            ({"categories": [*CATEGORIES, {"id": 2, "name": "a\nb"}]}, "cannot be printed"),
        ],
    )
    def test_wrong_content(self, root, change, message):
        write(root, TRAIN, {**content(), **change})
        with pytest.raises(UserError, match=message):
            open_source("coco", root)

    @pytest.mark.parametrize("number", ["1e999", "-1e999"])
    def test_numbers_without_end(self, root, number):
        write(root, TRAIN, json.dumps(content()).replace("500.5", number))
        with pytest.raises(UserError, match="finite|no JSON"):
            open_source("coco", root)

    @pytest.mark.parametrize("text", ["", "3", "[]", "{", '{"images": [', "\ufeff{}", "[" * 100_000, '{"images": []}}'])
    def test_what_is_not_the_format(self, root, text):
        write(root, TRAIN, text)
        with pytest.raises(UserError, match="no JSON|has no list of images") as refused:
            open_source("coco", root)
        assert "----" not in str(refused.value)  # the parser draws an arrow below the place

    def test_text_that_is_not_utf_8(self, root):
        (root / TRAIN).write_bytes(json.dumps(content()).encode().replace(b"dog", b"\xff\xfe"))
        with pytest.raises(UserError, match="no JSON"):
            open_source("coco", root)

    def test_both_files_must_have_the_same_categories(self, with_val):
        write(with_val, VAL, {**content(), "categories": [*CATEGORIES[:2], {"id": 3, "name": "boat"}]})
        with pytest.raises(UserError, match=r"instances_val2017.json: category 3 \('boat'\) differs"):
            open_source("coco", with_val)

    def test_a_link_out_of_the_folder_is_refused(self, root, tmp_path):
        picture = root / "train2017" / "000000000004.jpg"
        picture.rename(tmp_path / "outside.jpg")
        picture.symlink_to(tmp_path / "outside.jpg")
        with pytest.raises(UserError, match="leads out"):
            labels(open_source("coco", root))

    def test_damaged_files_end_in_one_line(self, root, lvis):
        """Either the source opens and lists its items, or it says what is wrong."""
        draw = random.Random(0)
        pieces = [
            b"",
            b"",
            b"-",
            b"9",
            b"1e400",
            b"null",
            b"[]",
            b"{}",
            b'"',
            b"\\ud800",
            b"\xff",
            b"\0",
            b"true",
            b"../",
        ]
        outcomes = set()
        for trial in range(400):
            folder, options = ((root, {}), (lvis, {**LVIS, "test": None}))[trial % 2]
            path = folder / options.get("train", TRAIN)
            original = path.read_bytes()
            damaged = bytearray(original)
            for _ in range(draw.randint(1, 2)):
                place = draw.randrange(len(damaged))
                damaged[place : place + draw.randint(0, 6)] = draw.choice(pieces)
            path.write_bytes(damaged)
            try:
                outcomes.add(len(labels(open_source("coco", folder, **options))))
            except UserError as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
            path.write_bytes(original)
        assert {"refused", 2, 3} <= outcomes

    def test_values_of_wrong_types_anywhere_end_in_one_line(self, root):
        draw = random.Random(1)
        wrong = [None, True, -1, 2**62, 0.5, "", "x", [], {}, [[1]], {"id": {}}, -0.0, 1e308, "../x", "\ud800"]
        for _ in range(400):
            value = content()
            holder, key = draw.choice(list(_places(value)))
            holder[key] = draw.choice(wrong)
            write(root, TRAIN, value)
            try:
                labels(open_source("coco", root))
            except UserError as error:
                assert "\n" not in str(error)


def _places(value):
    """Every (container, key) inside of a value."""
    for key, inner in list(value.items()) if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@pytest.mark.slow
def test_memory_grows_by_a_few_bytes_an_annotation(root):
    open_source("coco", root)  # imports and caches
    images, annotations = 1000, 100_000
    boxes = ",".join(json.dumps(box(i % images, (1, 3, 18)[i % 3])) for i in range(annotations))
    others = json.dumps({"images": [image(i) for i in range(images)], "categories": CATEGORIES})
    write(root, TRAIN, f'{{"annotations": [{boxes}], {others[1:]}')
    del boxes
    tracemalloc.start()
    try:
        source = open_source("coco", root)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(labels(source)) == images
    assert kept < 2 * annotations and peak < 80 * annotations
