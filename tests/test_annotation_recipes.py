"""The recipes of image annotation, each trained for a few steps on a miniature, so that nothing in them is dead."""

import json
import math

import numpy as np
import pytest

from fastlt import config as run_config
from fastlt import resources, sweep
from fastlt.cli import commands
from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from tests.data.made_sources import encoded, pixels

LOSSES = {"bce": "binary_cross_entropy", "focal": "focal", "asl": "asymmetric", "lsep": "lsep"}
QUICK = ["train.steps=5", "train.batch=8", "train.precision=fp32", "data.threads=1", "model.init=null"]


def trained(recipe, data, out, *settings):
    """The loss of every logged step of a short run, and its summary."""
    chosen = [
        part for value in [f"data.path={data}", *QUICK, "train.log_every=1", *settings] for part in ("--set", value)
    ]
    arguments = ["train", recipe, "--out", str(out), "--device", "cpu", *map(str, chosen)]
    commands.main(arguments, prog_name="fastlt", standalone_mode=False)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["terms"]["loss"] for row in rows if "terms" in row], json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """Corel-5k's layout with 24 pictures and four labels, built as the recipes say."""
    root, random = tmp_path_factory.mktemp("corel") / "corel5k", np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    labels = ["water", "sky", "tree", "snake"]
    for split, numbers in (("train", range(18)), ("test", range(18, 24))):
        samples = []
        for number in numbers:
            (root / "images" / f"{number}.jpeg").write_bytes(encoded(pixels(number), "JPEG"))
            samples.append(
                {"image_name": f"{number}.jpeg", "image_labels": [c for c in labels if random.random() < 0.5]}
            )
        (root / f"{split}.json").write_text(json.dumps({"samples": samples, "labels": labels}))
    build(open_source("corel5k", root), root.parent / "data", val=0.2, workers=1)
    return root.parent / "data"


@pytest.mark.parametrize("name", ["focal", "asl", "lsep"])
def test_each_digits_recipe_trains_from_five_steps_up(name, digits, tmp_path):
    losses, summary = trained(f"digits/{name}", digits, tmp_path / "run", "pipeline.size=16")
    assert len(losses) == 5 and all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert 0 <= summary["metrics"]["top1"] <= 1


@pytest.mark.parametrize("name", LOSSES)
def test_each_corel5k_recipe_trains_on_its_layout(name, miniature, tmp_path):
    losses, summary = trained(
        f"corel5k/{name}_lite0", miniature, tmp_path / "run", "model.backbone=resnet18", "pipeline.size=32"
    )
    assert len(losses) == 5 and all(math.isfinite(loss) for loss in losses)
    assert "threshold 0.5" in summary["metrics"]["annotation"]


@pytest.mark.parametrize("name", LOSSES)
def test_the_recipes_say_what_the_study_says(name):
    recipe, small = (run_config.load(f"corel5k/{name}{suffix}")[0] for suffix in ("", "_lite0"))
    assert recipe.method.loss.name == small.method.loss.name == LOSSES[name]
    assert recipe.method.loss == small.method.loss
    expected = ("resnext50_32x4d", 224) if name == "lsep" else ("tresnet_m", 448)
    assert (recipe.model.backbone, recipe.pipeline.size) == expected
    assert (recipe.model.drop_rate, recipe.train.batch, recipe.optimizer.lr) == (0.3, 32, 1e-4)
    assert (recipe.train.epochs, recipe.schedule.length, recipe.schedule.peak_at) == (60, 80, 0.2)
    if name == "focal":
        assert recipe.method.loss.gamma == 3
    if name == "asl":
        loss = recipe.method.loss
        assert (loss.gamma_positive, loss.gamma_negative, loss.margin, loss.reduction) == (0, 4, 0.05, "mean")


@pytest.mark.parametrize("name", ["corel5k/comparison", "corel5k/comparison_lite0"])
def test_the_sweep_compares_the_losses_with_the_published_figures(name):
    loaded = sweep.load(name)
    rows, figures = sweep.variants(loaded), sweep.published(loaded)
    assert [row.label for row in rows][:4] == ["BCE", "Focal", "ASL", "LSEP"]
    assert set(figures) <= {row.label for row in rows}
    assert all(row.recipe in resources.list_recipes() for row in rows)
    for label, found in figures.items():
        p, r, f1 = found["class_precision"], found["class_recall"], found["class_f1"]
        assert f1 == pytest.approx(2 * p * r / (p + r), abs=0.15), label  # so it is the harmonic mean of the means


def test_the_recipe_of_real_and_made_pictures_trains_on_both_with_their_own_statistics(miniature, tmp_path):
    made, both = tmp_path / "made", tmp_path / "both"
    small = ["--size", "64x64", "--channels", "1", "--iterations", "3", "--at-once", "7", "--device", "cpu"]
    arguments = ["augment", "ml-wgan", str(miniature), "--out", str(made), *small]
    commands.main(arguments, prog_name="fastlt", standalone_mode=False)
    build(open_source("shards", miniature, also=str(made)), both, workers=1)
    assert {split: len(ShardSet(both / split)) for split in ("train", "val", "test")} == {
        "train": 4 * len(ShardSet(miniature / "train")),
        "val": len(ShardSet(miniature / "val")),
        "test": 6,
    }
    losses, _ = trained(
        "corel5k/bce_wgan",
        both,
        tmp_path / "run",
        *("model.backbone=resnet18", "pipeline.size=32"),
    )
    assert len(losses) == 5 and all(math.isfinite(loss) for loss in losses)
    recipe, parent = (run_config.load(f"corel5k/{name}")[0] for name in ("bce_wgan", "bce"))
    assert recipe.pipeline.mean == (0.4249, 0.4365, 0.3926) and recipe.pipeline.std == (0.1955, 0.1830, 0.1987)
    same = {"data": recipe.data, "pipeline": recipe.pipeline}
    assert parent.model_copy(update=same) == recipe
