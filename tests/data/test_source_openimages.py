"""Open Images from its label tables."""

import random
import tracemalloc

import pytest
from made_sources import encoded, pixels

from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

TRAIN = "oidv6-train-annotations-human-imagelabels.csv"
VAL = "validation-annotations-human-imagelabels.csv"
DESCRIPTIONS = "oidv6-class-descriptions.csv"
TRAINABLE = "oidv6-classes-trainable.txt"
HEADER = "ImageID,Source,LabelName,Confidence\n"
CAT, DOG, TREE, ODD = "/m/01yrx", "/m/0bt9lr", "/m/07j7r", "/m/0odd"
A, B, C = "000002b66c9c498e", "000002b97e5471a0", "000002c707c9895e"


def table(*rows):
    """From (image, label, confidence)."""
    return HEADER + "".join(f"{image},verification,{label},{confidence}\n" for image, label, confidence in rows)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "openimages"
    for split in ("train", "validation", "test"):
        (root / split).mkdir(parents=True)
    names = [(CAT, "Cat"), (DOG, "Dog"), (TREE, "Tree, tall"), (ODD, "Odd")]
    rows = "".join(f'{label},"{name}"\n' for label, name in names)
    (root / DESCRIPTIONS).write_text("LabelName,DisplayName\n" + rows)
    (root / TRAINABLE).write_text(f"{DOG}\n{CAT}\n{TREE}\n")
    (root / TRAIN).write_text(table((B, CAT, 1), (A, DOG, 0), (B, TREE, 0), (A, CAT, 1), (A, ODD, 1)))
    for number, id in enumerate((A, B)):
        (root / "train" / f"{id}.jpg").write_bytes(encoded(pixels(number), "JPEG"))
    return root


def test_verified_labels_are_known_and_all_others_unknown(folder):
    source = open_source("openimages", folder)
    assert source.classes == ["Dog", "Cat", "Tree, tall"] and source.multi_label and source.label_default == -1
    items = list(source.items("train"))
    assert [(item.id, item.labels, item.negative, item.unknown) for item in items] == [
        (A, (1,), (0,), ()), (B, (1,), (2,), ())
    ]  # fmt: skip
    assert items[0].image == folder / "train" / f"{A}.jpg"
    assert list(source.problems) == [(TRAIN, "1 labels of classes outside the class list were skipped")]
    assert list(source.items("train")) == items and source.describe()["images"] == {"train": 2}


def test_the_build_keeps_the_three_values(folder, tmp_path):
    build(open_source("openimages", folder), tmp_path / "out", val=0, workers=1)
    with ShardSet(tmp_path / "out" / "train") as shards:
        assert shards.labels([0, 1]).tolist() == [[0, 1, -1], [-1, 1, 0]]


def test_without_the_trainable_list_every_described_class_counts_with_or_without_a_header(folder):
    (folder / TRAINABLE).unlink()
    assert open_source("openimages", folder).classes == ["Cat", "Dog", "Tree, tall", "Odd"]
    (folder / "class-descriptions.csv").write_text(f"{CAT},Cat\n{ODD},Cat\n{DOG},\n")
    source = open_source("openimages", folder, descriptions="class-descriptions.csv")
    assert source.classes == [f"Cat ({CAT})", f"Cat ({ODD})", DOG]


def test_without_descriptions_the_labels_are_the_names(folder):
    (folder / DESCRIPTIONS).unlink()
    assert open_source("openimages", folder).classes == [DOG, CAT, TREE]


def test_official_splits_are_found_and_others_can_be_named(folder):
    (folder / VAL).write_text(table((C, CAT, 1)))
    (folder / "mine.csv").write_text(table((C, TREE, "1.0"), (C, DOG, "0.0")))
    (folder / "pictures" / "test").mkdir(parents=True)
    (folder / "pictures" / "train").mkdir(parents=True)
    (folder / "pictures" / "val").mkdir(parents=True)
    source = open_source("openimages", folder)
    assert source.splits == ("train", "val") and source.default_val == 0.0
    assert [item.image for item in source.items("val")] == [folder / "validation" / f"{C}.jpg"]
    source = open_source("openimages", folder, test="mine.csv", images="pictures/{split}")
    assert [item.image for item in source.items("test")] == [folder / "pictures" / "test" / f"{C}.jpg"]
    assert [(item.labels, item.negative) for item in source.items("test")] == [((2,), (0,))]


def test_positive_wins_over_negative_and_repeated_rows_count_once(folder):
    (folder / TRAIN).write_text(table((A, CAT, 0), (B, DOG, 1), (A, CAT, 1), (B, DOG, 1), (A, CAT, 0), (A, DOG, 0)))
    source = open_source("openimages", folder)
    assert [(item.labels, item.negative) for item in source.items("train")] == [((1,), (0,)), ((0,), ())]
    assert list(source.problems) == [(f"{TRAIN} image {A}", "'Cat' is both positive and negative; positive wins")]


def test_every_contradiction_is_listed(folder, monkeypatch):
    ids = [f"{i:016x}" for i in range(1200)]
    rows = [(id, CAT, verdict) for verdict in (0, 1, 0) for id in ids]
    (folder / TRAIN).write_text(table(*rows))
    problems = list(open_source("openimages", folder).problems)
    assert [place for place, _ in problems] == [f"{TRAIN} image {id}" for id in ids]
    monkeypatch.setattr("fastlt.data.sources._verified_labels.CHUNK", 7)  # pairs stand on both sides of a cut
    assert list(open_source("openimages", folder).problems) == problems


@pytest.mark.parametrize("chunk", [1, 5, 1 << 19])
def test_rows_in_any_order_cut_anywhere_give_what_a_dictionary_gives(folder, monkeypatch, chunk):
    monkeypatch.setattr("fastlt.data.sources._verified_labels.CHUNK", chunk)
    draw = random.Random(chunk)
    ids = [str(draw.getrandbits(draw.randint(1, 60))) for _ in range(30)]
    rows = [(draw.choice(ids), draw.choice((CAT, DOG, TREE, ODD)), draw.randint(0, 1)) for _ in range(300)]
    (folder / TRAIN).write_text(table(*rows))
    known = {}
    for id, label, verdict in rows:
        states = known.setdefault(id, {})
        if label != ODD:
            states[(DOG, CAT, TREE).index(label)] = max(verdict, states.get((DOG, CAT, TREE).index(label), 0))
    expected = [
        (id, *(tuple(sorted(c for c, v in known[id].items() if v == wanted)) for wanted in (1, 0)))
        for id in sorted(known)
    ]
    found = [(item.id, item.labels, item.negative) for item in open_source("openimages", folder).items("train")]
    assert found == expected


def test_an_image_without_a_class_of_the_list_stays_and_is_counted(folder):
    (folder / TRAIN).write_text(table((A, CAT, 1), (B, ODD, 1), (C, DOG, 0)))
    source = open_source("openimages", folder)
    assert [(item.labels, item.negative) for item in source.items("train")] == [((1,), ()), ((), ()), ((), (0,))]
    assert (TRAIN, "1 images have no label of the class list: all is unknown") in source.problems


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_memory_for_a_row_is_small(folder, shuffled, monkeypatch):
    monkeypatch.setattr("fastlt.data.sources._verified_labels.CHUNK", 4000)
    rows = 60_000 if shuffled else 200_000
    lines = [f"{i // 7:016x},verification,{(CAT, DOG, TREE)[i % 3]},{i % 2}\n" for i in range(rows)]
    if shuffled:
        random.Random(0).shuffle(lines)
    (folder / TRAIN).write_text(HEADER + "".join(lines))
    del lines
    tracemalloc.start()
    try:
        source = open_source("openimages", folder)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(next(iter(source.items("train"))).id) == 16
    assert kept < 8 * rows + 200_000 and peak < (40 if shuffled else 25) * rows + 200_000


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (TRAIN, "", "is empty"),
        (TRAIN, HEADER, "labels no image"),
        (TRAIN, table((A, "/m/none", 1)), "labels no image with one of the 3 classes"),
        (TRAIN, "ImageID,LabelName\n", "has no columns named 'Confidence'"),
        (TRAIN, HEADER + f"{A},x,{CAT}\n", "line 2 has 3 cells, its first row 4"),
        (TRAIN, table((A, CAT, 1), (A, CAT, 0.7)), "line 3 has Confidence '0.7'"),
        (TRAIN, table((A, CAT, "nan")), "line 2 has Confidence 'nan'"),
        (TRAIN, table((A, CAT, "-1")), "line 2 has Confidence '-1'"),
        (TRAIN, table(("../x", CAT, 1)), "line 2 has the ImageID '../x'"),
        (TRAIN, table(("..", CAT, 1)), "line 2 has the ImageID"),
        (TRAIN, table(("/etc/x", CAT, 1)), "line 2 has the ImageID"),
        (TRAIN, table(("a" * 65, CAT, 1)), "line 2 has the ImageID"),
        (TRAIN, table(("", CAT, 1)), "line 2 has the ImageID ''"),
        (TRAIN, b"ImageID,Source,LabelName,Confidence\n\xff\xfe,x,y,1\n", "is not UTF-8 text"),
        (TRAIN, HEADER + '"' + A, "is no row of a table"),
        (DESCRIPTIONS, "", None),
        (DESCRIPTIONS, "LabelName,DisplayName,More\n", "line 1 is not a LabelName and a DisplayName"),
        (DESCRIPTIONS, f"{CAT},Cat\n{CAT},Kitten\n", "line 2 describes '/m/01yrx' once more"),
        (DESCRIPTIONS, b"\xff,\n", "is not UTF-8 text"),
        (TRAINABLE, "", "lists no class"),
        (TRAINABLE, f"{CAT}\n{CAT}\n", "line 2 must be one LabelName that no other line has"),
        (TRAINABLE, f"{CAT},Cat\n", "line 1 must be one LabelName"),
    ],
)
def test_wrong_tables(folder, file, text, message):
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    if message is None:
        assert open_source("openimages", folder).classes == [DOG, CAT, TREE]
        return
    with pytest.raises(UserError, match=message):
        open_source("openimages", folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "none.csv"}, "none.csv is no file"),
        ({"val": "none.csv"}, "none.csv is no file"),
        ({"classes": "none.txt"}, "none.txt is no file"),
        ({"images": "nowhere/{split}"}, "nowhere/train is no folder"),
    ],
)
def test_what_the_options_name_must_be_there(folder, options, message):
    (folder / "val").mkdir()
    with pytest.raises(UserError, match=message):
        open_source("openimages", folder, **options)


def test_a_folder_without_tables(tmp_path):
    with pytest.raises(UserError, match="name it as option descriptions"):
        open_source("openimages", tmp_path)
    (tmp_path / TRAINABLE).write_text(CAT)
    with pytest.raises(UserError, match="name the table of training labels"):
        open_source("openimages", tmp_path)


def test_a_picture_that_is_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(encoded(pixels(0), "JPEG"))
    (folder / "train" / "other.jpg").symlink_to(outside)  # no label names it
    (folder / "inside.jpg").write_bytes(outside.read_bytes())
    (folder / "train" / f"{A}.jpg").unlink()
    (folder / "train" / f"{A}.jpg").symlink_to(folder / "inside.jpg")
    open_source("openimages", folder)
    (folder / "train" / f"{B}.jpg").unlink()
    (folder / "train" / f"{B}.jpg").symlink_to(outside)
    with pytest.raises(UserError, match=f"{B}.jpg is a link that leads out"):
        open_source("openimages", folder)


@pytest.mark.parametrize("file", [TRAIN, DESCRIPTIONS, TRAINABLE])
def test_damaged_tables_open_or_are_refused(folder, file):
    random_ = random.Random(file)
    text, outcomes = (folder / file).read_bytes(), set()
    for _ in range(400):
        damaged = bytearray(text)
        for _ in range(random_.randint(1, 3)):
            at, what = random_.randrange(len(damaged)), random_.randrange(3)
            piece = random_.choice([b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"../", b"9" * 5000, b"-1", b"1e999"])
            damaged[at : at + what] = piece if what < 2 else bytes([random_.randrange(256)])
        (folder / file).write_bytes(damaged)
        try:
            source = open_source("openimages", folder)
            for item in source.items("train"):
                assert not set(item.labels) & set(item.negative)
                assert all(0 <= c < len(source.classes) for c in item.labels + item.negative)
            outcomes.add("opened")
        except UserError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"opened", "refused"}
