"""PASCAL VOC from its folders."""

import random

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

DOG, CAR, PERSON = 11, 6, 14


def annotation(*objects):
    """Objects are (name, difficult) or (name, None) where the file says nothing of it."""
    rows = [
        f"<object><name>{name}</name>" + ("" if hard is None else f"<difficult>{hard}</difficult>") + "</object>"
        for name, hard in objects
    ]
    return f"<annotation><folder>VOC</folder>{''.join(rows)}</annotation>"


def add_year(root, year, images, **lists):
    """images: id -> content of the XML file; lists: name -> ids."""
    folder = root / f"VOC{year}"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number, (id, xml) in enumerate(images.items()):
        (folder / "Annotations" / f"{id}.xml").write_text(xml)
        (folder / "JPEGImages" / f"{id}.jpg").write_bytes(encoded(pixels(number), "JPEG"))
    for name, ids in lists.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{id}\n" for id in ids))
    return folder


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "VOCdevkit"
    add_year(
        root,
        2007,
        {"000001": annotation(("car", 0)), "000002": annotation(("dog", 0)), "000003": annotation(("person", 0))},
        trainval=["000001", "000002"],
        train=["000001"],
        val=["000002"],
        test=["000003"],
    )
    add_year(
        root,
        2012,
        {
            "2008_000001": annotation(("person", 0), ("dog", 1), ("person", 1)),
            "2008_000002": annotation(("car", None), ("car", 1)),
            "2008_000003": annotation(),
        },
        trainval=["2008_000001", "2008_000002", "2008_000003"],
        train=["2008_000001"],
        val=["2008_000002", "2008_000003"],
    )
    return root


def labels(source, split="train"):
    return {item.id: item.labels for item in source.items(split)}


class TestLabels:
    def test_classes_are_the_twenty_in_alphabetical_order(self, devkit):
        source = open_source("voc", devkit)
        assert len(source.classes) == 20 and source.classes == sorted(source.classes) and source.multi_label
        assert [source.classes[c] for c in (CAR, DOG, PERSON)] == ["car", "dog", "person"]

    def test_an_image_has_the_classes_of_its_objects(self, devkit):
        found = labels(open_source("voc", devkit, years=2012))
        assert found == {"2008_000001": (DOG, PERSON), "2008_000002": (CAR,), "2008_000003": ()}

    def test_objects_marked_difficult_can_be_overlooked(self, devkit):
        item = next(open_source("voc", devkit, years=2012, difficult="drop").items("train"))
        assert (item.labels, item.unknown) == ((PERSON,), ())

    def test_a_class_that_is_only_difficult_can_be_unknown(self, devkit):
        items = list(open_source("voc", devkit, years=2012, difficult="unknown").items("train"))
        assert [(item.labels, item.unknown) for item in items[:2]] == [((PERSON,), (DOG,)), ((CAR,), ())]

    def test_parts_of_a_person_are_no_objects(self, devkit):
        xml = "<annotation><object><name>person</name><part><name>head</name></part></object></annotation>"
        (devkit / "VOC2012/Annotations/2008_000003.xml").write_text(xml)
        assert labels(open_source("voc", devkit, years=2012))["2008_000003"] == (PERSON,)

    def test_items_are_the_same_each_time_and_annotations_are_read_once(self, devkit):
        source = open_source("voc", devkit)
        first = list(source.items("train"))
        for path in devkit.rglob("*.xml"):
            path.unlink()
        assert list(source.items("train")) == first


class TestYearsAndLists:
    def test_every_year_is_used_and_named_in_the_ids(self, devkit):
        source = open_source("voc", devkit)
        assert list(labels(source)) == [
            "VOC2007/000001", "VOC2007/000002", "VOC2012/2008_000001", "VOC2012/2008_000002", "VOC2012/2008_000003",
        ]  # fmt: skip
        assert list(labels(source, "test")) == ["VOC2007/000003"]

    def test_a_single_year_folder_will_do(self, devkit):
        source = open_source("voc", devkit / "VOC2007")
        assert list(labels(source)) == ["000001", "000002"] and list(labels(source, "test")) == ["000003"]

    def test_years_of_training_and_testing_may_differ(self, devkit):
        source = open_source("voc", devkit, years=2012, test_years=2007)
        assert [item.image for item in source.items("test")] == [devkit / "VOC2007" / "JPEGImages" / "000003.jpg"]
        assert len(labels(source)) == 3 and source.splits == ("train", "test")
        assert source.describe()["lists"]["test"] == {"list": "test", "years": [2007]}

    def test_without_a_list_test_the_list_val_follows_train(self, devkit):
        source = open_source("voc", devkit, years=[2012], train="train")
        assert list(labels(source, "test")) == ["2008_000002", "2008_000003"]

    def test_trainval_of_a_year_without_a_list_test_has_no_test_split(self, devkit):
        assert open_source("voc", devkit, years=2012).splits == ("train",)

    def test_the_test_split_can_be_left_out(self, devkit):
        assert open_source("voc", devkit, test=None).splits == ("train",)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"years": 2010}, "years has 2010, which is not there; choose from 2007, 2012"),
            ({"years": "2012"}, "years has '2012'"),
            ({"years": []}, "years is empty"),
            ({"years": [[2012]]}, "which is not there"),
            ({"test_years": True}, "test_years has True"),
            ({"years": 2012, "test": "test"}, "VOC2012/ImageSets/Main/test.txt is missing"),
            ({"test_years": [2007, 2012]}, "VOC2012/ImageSets/Main/test.txt is missing"),
            ({"test_years": 2007, "test": None}, "nothing is to be tested on"),
            ({"train": "../Main/trainval"}, "no name of a list"),
            ({"train": 5}, "no name of a list"),
            ({"train": "x" * 300}, "is missing"),
            ({"test": "val"}, "image 000002 is both in VOC2007 trainval and in VOC2007 val"),
            ({"difficult": "maybe"}, "choose keep, drop or unknown"),
        ],
    )
    def test_wrong_options(self, devkit, options, message):
        with pytest.raises(UserError, match=message):
            open_source("voc", devkit, **options)

    def test_an_image_of_two_years_is_refused(self, devkit):
        add_year(devkit, 2011, {"2008_000002": annotation()}, trainval=["2008_000002"])
        with pytest.raises(UserError, match="2008_000002 is both in VOC2011 trainval and in VOC2012 trainval"):
            open_source("voc", devkit)
        assert len(labels(open_source("voc", devkit, years=[2007, 2012]))) == 5

    def test_a_folder_without_years(self, tmp_path):
        with pytest.raises(UserError, match="holds no VOC2007, VOC2012"):
            open_source("voc", tmp_path)

    def test_a_file_is_no_devkit(self, tmp_path):
        (tmp_path / "VOC.tar").write_bytes(b"")
        with pytest.raises(UserError, match="is no folder"):
            open_source("voc", tmp_path / "VOC.tar")


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"2008_000001 1\n", "trainval.txt:1 has more than one column"),
            (b"2008_000001\n2008_000001\n", ":2: image '2008_000001' was already given"),
            (b"/etc/passwd\n", "leads out of the folder"),
            (b"..\n", "leads out of the folder"),
            (b"a/b\n", "the path 'a/b' in place of an image's id"),
            (b"a\0b\n", "control character"),
            (b"\xff\xfe\n", "is not UTF-8"),
            (b"2008_000009\n", "2008_000009.xml is missing though its image is listed"),
            (b"x" * 300, "xxx.xml is missing"),
        ],
    )
    def test_a_wrong_list_is_named(self, devkit, text, message):
        (devkit / "VOC2012/ImageSets/Main/trainval.txt").write_bytes(text)
        with pytest.raises(UserError, match=message):
            list(open_source("voc", devkit, years=2012).items("train"))

    @pytest.mark.parametrize(
        ("xml", "message"),
        [
            (annotation(("unicorn", 0)), "2008_000002.xml has an object of class 'unicorn'"),
            ("<annotation><object></object></annotation>", "of class ''"),
            (annotation(("dog", 2)), "an object dog whose difficult is '2'"),
            (annotation(("dog", "")), "whose difficult is ''"),
            ("<annotation><object>", "no annotation of VOC"),
            ("", "no annotation of VOC"),
            ("<html/>", "it is a 'html'"),
            ("<?xml version='1.0' encoding='klingon'?><annotation/>", "no annotation of VOC"),
            ('<!DOCTYPE a [<!ENTITY e "dog">]><annotation>&e;</annotation>', "a DOCTYPE, which could define entities"),
            ("<annotation>" + " " * (1 << 20) + "</annotation>", "larger than 1048576 bytes"),
            ("<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>", None),
        ],
    )
    def test_a_wrong_annotation_is_named(self, devkit, xml, message):
        (devkit / "VOC2012/Annotations/2008_000002.xml").write_text(xml)
        source = open_source("voc", devkit, years=2012)
        if message is None:
            assert labels(source)["2008_000002"] == ()
        else:
            with pytest.raises(UserError, match=message):
                labels(source)

    def test_entities_are_refused_in_every_encoding(self, devkit):
        xml = '<!DOCTYPE a [<!ENTITY e "dog">]><annotation>&e;</annotation>'.encode("utf-16")
        (devkit / "VOC2012/Annotations/2008_000002.xml").write_bytes(xml)
        with pytest.raises(UserError, match="DOCTYPE"):
            labels(open_source("voc", devkit, years=2012))

    @pytest.mark.parametrize("name", ["JPEGImages/2008_000002.jpg", "Annotations/2008_000002.xml"])
    def test_a_link_out_of_the_folder_is_refused(self, devkit, tmp_path, name):
        outside = tmp_path / "outside"
        (devkit / "VOC2012" / name).rename(outside)
        (devkit / "VOC2012" / name).symlink_to(outside)
        with pytest.raises(UserError, match="link that leads out"):
            labels(open_source("voc", devkit, years=2012))

    def test_damaged_files_end_in_one_line(self, devkit):
        """Either the source opens and lists its items, or it says what is wrong."""
        draw = random.Random(0)
        files = [devkit / "VOC2012/Annotations/2008_000001.xml", devkit / "VOC2012/ImageSets/Main/trainval.txt"]
        originals = [file.read_bytes() for file in files]
        outcomes = set()
        for trial in range(400):
            file, content = files[trial % 2], bytearray(originals[trial % 2])
            for _ in range(draw.randint(1, 3)):
                place = draw.randrange(len(content))
                content[place : place + draw.randint(0, 4)] = draw.choice([b"", b"<", b"&", b"\xff", b"\0", b"/", b"9"])
            file.write_bytes(content)
            try:
                outcomes.add(len(labels(open_source("voc", devkit, years=2012))))
            except UserError:
                outcomes.add("refused")
            file.write_bytes(originals[trial % 2])
        assert {"refused", 3} <= outcomes


def test_it_builds(devkit, tmp_path):
    source = open_source("voc", devkit, years=2012, test_years=2007, difficult="unknown")
    report = build(source, tmp_path / "out", val=0, workers=1)
    assert not report.bad and report.splits["test"]["records"] == 1
    with ShardSet(tmp_path / "out" / "train") as shards:
        rows = shards.labels(np.arange(3))
        assert rows[0, PERSON] == 1 and rows[0, DOG] == -1 and rows[2].sum() == 0
