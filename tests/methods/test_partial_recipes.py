"""Every recipe of partly annotated data, trained a few steps on a miniature in the true layout of its source."""

import csv
import json

import pytest
from rich.console import Console

from fastlt.commands.runs import SplitOfRun, evaluate_run, predict_files, train_run
from fastlt.data.build import build
from fastlt.data.partial import Hiding
from fastlt.data.sources import open_source
from tests.data.made_sources import encoded, pixels

SILENT = Console(quiet=True)
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}]
IMAGES = {"train": range(1, 13), "val": range(101, 109)}
SMALL = [
    "model.backbone=cifar_resnet20",
    "model.init=null",
    "pipeline.size=32",
    "train.batch=4",
    "train.steps=2",
    "train.evaluate_batch=4",
    "data.threads=1",
]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)


def draw(folder, number, name):
    write(folder / name, encoded(pixels(number, 40, 48), "JPEG"))


def box(image, category):
    return {"image_id": image, "category_id": category, "bbox": [1, 2, 30, 40], "area": 500, "iscrowd": 0}


def coco(root):
    for split, ids in IMAGES.items():
        content = {
            "images": [{"id": id, "file_name": f"COCO_{split}2014_{id:012d}.jpg"} for id in ids],
            "annotations": [box(id, CATEGORIES[id % 3]["id"]) for id in ids]
            + [box(id, 1) for id in ids if id % 4 == 0],
            "categories": CATEGORIES,
        }
        write(root / f"annotations/instances_{split}2014.json", json.dumps(content))
        for id in ids:
            draw(root / f"{split}2014", id, f"COCO_{split}2014_{id:012d}.jpg")
    names = {"train": "annotations/instances_train2014.json", "images_train": "train2014", "images_test": "val2014"}
    return open_source("coco", root, empty="drop", **names)


def lvis(root):
    """Of each image one category is annotated and one is known to be absent."""
    for split, ids in IMAGES.items():
        url = "http://images.cocodataset.org/{}2017/{:012d}.jpg"
        content = {
            "images": [
                {
                    "id": id,
                    "coco_url": url.format(split, id),
                    "neg_category_ids": [CATEGORIES[(id + 1) % 3]["id"]],
                    "not_exhaustive_category_ids": [],
                }
                for id in ids
            ],
            "annotations": [box(id, CATEGORIES[id % 3]["id"]) for id in ids],
            "categories": CATEGORIES,
        }
        write(root / f"annotations/lvis_v1_{split}.json", json.dumps(content))
        for id in ids:
            draw(root / f"{split}2017", id, f"{id:012d}.jpg")
    return open_source("coco", root, train="annotations/lvis_v1_train.json")


def openimages(root):
    labels = ["/m/01yrx", "/m/0bt9lr", "/m/07j7r"]
    write(root / "oidv6-class-descriptions.csv", "LabelName,DisplayName\n" + "".join(f"{x},{x[3:]}\n" for x in labels))
    tables = {"train": "oidv6-train-annotations-human-imagelabels.csv"}
    tables["val"] = "validation-annotations-human-imagelabels.csv"
    for split, ids in IMAGES.items():
        rows = [f"{id:016x},verification,{labels[(id + known) % 3]},{1 - known}\n" for id in ids for known in (0, 1)]
        write(root / tables[split], "ImageID,Source,LabelName,Confidence\n" + "".join(rows))
        for id in ids:
            draw(root / {"val": "validation"}.get(split, split), id, f"{id:016x}.jpg")
    return open_source("openimages", root)


def flixstock(root):
    rows = ["filename,neck,sleeve_length,pattern,split"]
    for split, ids in {"train": range(24), "test": range(24, 36)}.items():
        for id in ids:
            neck, sleeve, pattern = (
                "#N/A" if (id + skip) % 5 == 0 else (id // step) % 3 for skip, step in enumerate((1, 2, 4))
            )
            rows.append(f"{id}.jpg,{neck},{sleeve},{pattern},{split}")
            draw(root, id, f"{id}.jpg")
    write(root / "labels.csv", "\n".join(rows) + "\n")
    return open_source("csv", root, attributes="neck,sleeve_length,pattern", split="split")


SOURCES = {"coco": coco, "lvis": lvis, "openimages": openimages, "flixstock": flixstock}
RECIPES = {
    "coco/csl": Hiding("rps", 0.3),
    "coco/ignore": Hiding("rps", 0.3),
    "coco/negative": Hiding("rps", 0.3),
    "lvis/csl": None,
    "openimages/csl": None,
    "flixstock/csl": None,
    "flixstock/attribute_cross_entropy": None,
}


def trained(recipe, folder, settings):
    source = SOURCES[recipe.partition("/")[0]](folder / "source")
    build(source, folder / "data", hiding=RECIPES[recipe], val=0, workers=1)
    overrides = [f"data.path={folder / 'data'}", *settings]
    return train_run(recipe, folder / "run", overrides, False, "cpu", SILENT)


def cutout(recipe):
    return [] if recipe.startswith("flixstock") else ["pipeline.cutout=16"]


@pytest.mark.parametrize(
    "recipe",
    [
        "coco/csl",
        pytest.param("coco/ignore", marks=pytest.mark.slow),
        pytest.param("coco/negative", marks=pytest.mark.slow),
        "lvis/csl",
        "openimages/csl",
    ],
)
def test_the_recipe_trains_and_is_measured(recipe, tmp_path):
    found = trained(recipe, tmp_path, [*SMALL, *cutout(recipe)])
    assert found["steps"] == 2 and 0 < found["metrics"]["mAP"] <= 1


@pytest.mark.parametrize("recipe", ["flixstock/csl", "flixstock/attribute_cross_entropy"])
def test_attributes_are_learned_measured_and_written_back_into_the_columns_of_their_table(recipe, tmp_path):
    found = trained(recipe, tmp_path, SMALL)
    by_attribute = found["metrics"]["attributes"]
    assert list(by_attribute) == ["neck", "sleeve_length", "pattern"]
    measured = evaluate_run(SplitOfRun(tmp_path / "run", "test", device="cpu"), SILENT)
    assert (
        measured["attributes"]
        == by_attribute
        == json.loads((tmp_path / "run/summary.json").read_text())["metrics"]["attributes"]
    )
    assert "Attributes, where they are known" in (tmp_path / "run/report.html").read_text()

    pictures = tmp_path / "pictures"
    for number in range(3):
        draw(pictures / "new", number, f"{number}.jpg")
    predict_files(tmp_path / "run", [pictures], pictures / "found.csv", None, "cpu", SILENT)
    rows = list(csv.DictReader((pictures / "found.csv").open()))
    assert list(rows[0]) == ["filename", "neck", "sleeve_length", "pattern"]
    assert [row["filename"] for row in rows] == ["new/0.jpg", "new/1.jpg", "new/2.jpg"]
    assert all(row[name] in ("0", "1", "2") for row in rows for name in by_attribute)
    again = open_source("csv", pictures, attributes="neck,sleeve_length,pattern")
    assert not again.problems and sum(len(list(again.items(split))) for split in again.splits) == 3


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["coco/csl", "flixstock/csl"])
def test_the_recipe_trains_its_own_network(recipe, tmp_path):
    settings = [setting for setting in SMALL if not setting.startswith("model.backbone")]
    assert trained(recipe, tmp_path, [*settings, *cutout(recipe)])["backbone"] == "tresnet_m.miil_in21k"


def test_the_digits_recipe_runs_five_steps(digits, tmp_path):
    overrides = [f"data.path={digits}", "train.steps=5", "pipeline.size=16", "pipeline.pad=2", "data.threads=1"]
    assert train_run("digits/csl", tmp_path / "run", overrides, False, "cpu", SILENT)["steps"] == 5
