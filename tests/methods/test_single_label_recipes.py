"""The recipes of ImageNet-LT, iNaturalist and CIFAR-LT train on miniatures in the true layouts."""

import json

import pytest

from fastlt import config as run_config
from fastlt import sweep as sweeps
from fastlt.data.build import build
from fastlt.data.sources import open_source
from tests.data.made_sources import encoded, pixels
from tests.train.test_trainer import finished

METHODS = ("erm", "bsce", "dive", "ldam", "ldam_drw", "focal", "logit_adjustment", "crt", "tau_norm")
COUNTS = {"train": (12, 6, 3, 1), "val": (1, 1, 1, 1), "test": (2, 2, 2, 2)}
SMALLER = ("train.batch=8", "train.steps=5", "train.precision=fp32", "data.threads=1")
BOTH_STAGES = "method.first_share=0.5"  # of five steps
LARGE = (*SMALLER, "pipeline.size=32", "evaluate_pipeline.size=32", "model.backbone=resnet10t")


def listed(root, name, folder, splits):
    """A data set from lists of `folder(split)/<class>/<number>.JPEG <label>`."""
    lists = {split: f"{name}_{split}.txt" for split in splits}
    for split, file in lists.items():
        lines = [
            (f"{folder(split)}/n0{label}/{split}_{number}.JPEG", label)
            for label, count in enumerate(COUNTS[split])
            for number in range(count)
        ]
        for place, (path, _) in enumerate(lines):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(encoded(pixels(place, 40, 56), "JPEG"))
        (root / file).write_text("".join(f"{path} {label}\n" for path, label in lines))
    out = root / "built"
    build(open_source("list", root, **lists), out, val=0 if "val" not in splits else None, workers=1)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """ImageNet-LT has its test images in `val`; iNaturalist has no validation apart from what is tested on."""
    imagenet, inaturalist = tmp_path_factory.mktemp("imagenet"), tmp_path_factory.mktemp("inaturalist")
    return {
        "imagenet_lt": listed(
            imagenet, "ImageNet_LT", lambda s: "train" if s == "train" else "val", ("train", "val", "test")
        ),
        "inaturalist": listed(inaturalist, "iNaturalist18", lambda s: "train_val2018/Plantae", ("train", "test")),
    }


def trained(path, recipe, data, *overrides):
    folder = finished(path, run_config.load(recipe, [f"data.path={data}", *overrides])[0])
    assert json.loads(folder.summary.read_text())["steps"] == 5
    return folder.path


def trains(path, name, method, data):
    more = []
    if method == "dive":
        more = [f"method.teacher={trained(path / 'teacher', f'{name}/bsce', data, *LARGE)}"]
    if method == "crt":
        more = [BOTH_STAGES]
    trained(path / "run", f"{name}/{method}", data, *LARGE, *more)


@pytest.mark.parametrize("method", [*METHODS, "erm_resnet10", "bsce_resnet10"])
def test_every_recipe_of_imagenet_lt_trains(data, tmp_path, method):
    trains(tmp_path, "imagenet_lt", method, data["imagenet_lt"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_of_inaturalist_trains(data, tmp_path, method):
    trains(tmp_path, "inaturalist", method, data["inaturalist"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_lt", "cifar100_lt"])
def test_every_recipe_of_cifar_trains(data, tmp_path, name):
    small = (*SMALLER, "model.backbone=cifar_resnet20")
    for kind in ("", "_bsm"):
        teacher = trained(tmp_path / f"bsce{kind}", f"{name}/bsce{kind}", data["imagenet_lt"], *small)
        more = f"method.teacher={teacher}"
        trained(tmp_path / f"dive{kind}", f"{name}/dive{kind}", data["imagenet_lt"], *small, more)
    for method in ("erm", "erm_bsm", *METHODS[3:]):
        more = [BOTH_STAGES] if method == "crt" else []
        trained(tmp_path / method, f"{name}/{method}", data["imagenet_lt"], *small, *more)


@pytest.mark.parametrize("name", ["cifar10_lt", "cifar100_lt"])
def test_the_recipes_of_cifar_have_the_papers_settings(name):
    config, _ = run_config.load(f"{name}/erm")
    assert (config.model.backbone, config.train.batch, config.train.epochs) == ("cifar_resnet32", 128, 200)
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.1, 0.9, 2e-4)
    assert (config.schedule.milestones, config.schedule.gamma, config.schedule.warmup) == ((120, 160), 0.01, 5)
    assert config.pipeline.auto_augment is None and config.pipeline.cutout == 0  # as the paper, not as a reproduction
    dive, _ = run_config.load(f"{name}/dive")
    assert (dive.method.temperature, dive.method.power, dive.method.alpha) == (3, 0.5, 0.5)
    drw, _ = run_config.load(f"{name}/ldam_drw")
    assert (drw.schedule.milestones, drw.model.classifier) == ((160, 180), "cosine")
    assert (drw.method.loss.max_margin, drw.method.loss.scale) == (0.5, 30)
    assert (drw.method.loss.weighting.kind, drw.method.loss.weighting.from_share * drw.train.epochs) == (
        "effective_number",
        160,
    )
    original, _ = run_config.load(f"{name}/bsce_bsm")
    assert (original.train.batch, original.train.steps, original.optimizer.weight_decay) == (512, 13000, 5e-4)
    assert (original.pipeline.auto_augment, original.pipeline.cutout) == ("cifar10", 16)
    images = {"cifar10_lt": 12406, "cifar100_lt": 10847}[name]
    assert original.schedule.warmup * images / 512 == pytest.approx(800, abs=1)


@pytest.mark.parametrize("name", ["cifar100_lt/dive", "cifar100_lt/comparison", "digits/dive"])
def test_every_row_of_the_sweeps_is_a_run_and_has_its_published_figure(name):
    sweep = sweeps.load(name)
    variants, published = sweeps.variants(sweep), sweeps.published(sweep)
    for variant in variants:
        run_config.load(variant.recipe, variant.overrides)
    if published:
        assert {variant.label for variant in variants} <= published.keys()
