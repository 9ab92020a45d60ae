"""Every recipe of VOC-LT and COCO-LT trains some steps on a miniature in the true layout."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from fastlt import config as run_config
from fastlt import resources
from fastlt.data.build import build
from fastlt.data.longtail import Recipe
from fastlt.data.sources import open_source
from fastlt.train.trained import Trained
from tests.train.test_trainer import ALONE, run

SMALL = ["train.steps=2", "train.batch=4", "pipeline.size=32", "data.threads=1", "model.init=null"]
SMALL += ["train.precision=fp32", "train.evaluate_batch=16"]
VOC = ["person", "chair", "car", "dog", "cow", "sheep"]


def picture(seed):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def classes_of(number):
    """Of six classes the first is in every second picture, the last is rare."""
    return [c for c in range(6) if number % (c + 2) == 0] or [0]


def add_year(root, year, name, numbers):
    folder = root / f"VOC{year}"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for number in numbers:
        objects = "".join(f"<object><name>{VOC[c]}</name><difficult>0</difficult></object>" for c in classes_of(number))
        (folder / "Annotations" / f"{number:06d}.xml").write_text(f"<annotation>{objects}</annotation>")
        (folder / "JPEGImages" / f"{number:06d}.jpg").write_bytes(picture(number))
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{number:06d}\n" for number in numbers))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    add_year(root / "VOCdevkit", 2012, "trainval", range(40))
    add_year(root / "VOCdevkit", 2007, "test", range(40, 54))
    source = open_source("voc", root / "VOCdevkit", years=2012, test_years=2007)
    return built(source, "voc-lt", root / "data")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for split, numbers in (("train2017", range(40)), ("val2017", range(40, 54))):
        (root / split).mkdir()
        images = [{"id": n, "file_name": f"{n:012d}.jpg"} for n in numbers]
        boxes = [
            {"image_id": n, "category_id": c + 1, "bbox": [1, 1, 9, 9], "area": 81}
            for n in numbers
            for c in classes_of(n)
        ]
        names = [{"id": c + 1, "name": name} for c, name in enumerate(VOC)]
        text = json.dumps({"images": images, "annotations": boxes, "categories": names})
        (root / "annotations" / f"instances_{split}.json").write_text(text)
        for n in numbers:
            (root / split / f"{n:012d}.jpg").write_bytes(picture(n))
    return built(open_source("coco", root), "coco-lt", root / "data")


def built(source, recipe, out):
    build(source, out, Recipe(recipe), val=0.0, workers=1)
    return out


def recipes(data):
    return [name for name in resources.list_recipes() if name.startswith(f"{data}_lt/")]


def trains(recipe, data, tmp_path, *overrides):
    config = run_config.load(recipe, [f"data.path={data}", *SMALL, *overrides])[0]
    folder, summary = run(tmp_path / "run", config)
    assert summary["steps"] == 2
    found = Trained.load(folder, ALONE).measure("test")
    assert 0 < found["mAP"] <= 1 and found["images"] == 14
    return found


LIGHT = "model.backbone=resnet18"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes("voc"))
def test_voc_lt(recipe, voc, tmp_path):
    trains(recipe, voc, tmp_path, LIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes("coco"))
def test_coco_lt(recipe, coco, tmp_path):
    trains(recipe, coco, tmp_path, LIGHT)


@pytest.mark.parametrize("data", ["voc", pytest.param("coco", marks=pytest.mark.slow)])
def test_collaborative_training_with_its_own_network_and_the_flip_test(data, request, tmp_path):
    folder = request.getfixturevalue(data)
    found = trains(f"{data}_lt/collaborative", folder, tmp_path, "train.evaluate_flip=true")
    assert list(found["parts"]) == ["uniform", "rebalanced"]


@pytest.mark.parametrize("data", ["voc", "coco"])
def test_every_method_of_the_comparison_has_a_recipe(data):
    names = ["bbn", "cb_focal", "collaborative", "db_focal", "erm", "focal", "ldam", "rs", "rw"]
    assert recipes(data) == [f"{data}_lt/{name}" for name in names]


def test_distribution_balanced_settings_are_those_of_each_data_set():
    loss = {data: run_config.load(f"{data}_lt/db_focal")[0].method.loss for data in ("voc", "coco")}
    common = {"lowest": 0.1, "steepness": 10.0, "bias": 0.05, "gamma": 2.0}
    for found in loss.values():
        assert common.items() <= found.model_dump().items()
    assert [(found.center, found.negative_scale) for found in loss.values()] == [(0.3, 5.0), (0.2, 2.0)]
