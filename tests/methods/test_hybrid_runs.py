"""Whole runs of Hybrid-SC and Hybrid-PSC: they resume exactly, do not wait, and every recipe of theirs trains."""

import pickle

import numpy as np
import pytest
import torch

from fastlt import config as run_config
from fastlt.data.build import build
from fastlt.data.longtail import Recipe
from fastlt.data.sources import open_source
from fastlt.train import checkpoint
from fastlt.train.display import Display
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.data.made_sources import encoded, pixels
from tests.train.test_trainer import ALONE, assert_equal_runs, begin, config_of, run, trained_without_waiting

NAMES = ["hybrid_sc", "hybrid_psc"]
EVERYTHING = (
    "train.steps=6",
    "train.ema=0.9",
    "train.accumulate=2",
    "model.drop_rate=0.3",
    "method.whole_epochs=false",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(digits, tmp_path, name):
    config = config_of(digits, *EVERYTHING, recipe=f"digits/{name}")
    whole, _ = run(tmp_path / "whole", config)
    for stop in (1, 3):
        path = tmp_path / f"stopped{stop}"
        with Trainer.open(config, begin(path, config), ALONE, Display(quiet=True)) as trainer:
            trainer.run(until=stop)
            trainer.save()
        assert_equal_runs(run(path, config, resume=True)[0], whole)
    state = checkpoint.load(whole.last)
    learnt = {"projection.0.weight", "projection.2.bias"} | ({"prototypes"} if name == "hybrid_psc" else set())
    assert learnt <= state["model"].keys() and learnt <= state["ema"]["average"].keys()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_step_waits_for_the_device(digits, tmp_path, name):
    config = config_of(digits, *EVERYTHING, recipe=f"digits/{name}")
    trained_without_waiting(config, tmp_path / "run")


@pytest.mark.parametrize("name", NAMES)
def test_images_reach_the_network_channels_last_also_in_parts_of_a_batch(digits, tmp_path, name):
    config = config_of(digits, *EVERYTHING, recipe=f"digits/{name}")
    seen = []
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.method.model.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        trainer.method.train()
        trainer.train_step(next(trainer.loader))
    views = 2 if name == "hybrid_sc" else 1
    assert [len(x) for x in seen] == [8 * views + 8] * 2, "one pass for both branches, of each half of the batch"
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


@pytest.fixture(scope="module")
def small_cifar(tmp_path_factory):
    """The python batches of CIFAR-10 with a hundred pictures."""
    root = tmp_path_factory.mktemp("cifar")
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        data = generator.integers(0, 256, (20, 3072)).astype(np.uint8)
        labels = [row % 10 for row in range(20)]
        (root / name).write_bytes(pickle.dumps({b"data": data, b"labels": labels}, protocol=2))
    names = [f"class {number}".encode() for number in range(10)]
    (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=2))
    out = tmp_path_factory.mktemp("data") / "cifar10-lt"
    build(open_source("cifar10", root), out, recipe=Recipe("exponential", 5), workers=1)
    return out


@pytest.fixture(scope="module")
def small_inaturalist(tmp_path_factory):
    """Lists of pictures as iNaturalist 2018 has them: train_val2018/<kingdom>/<class>/<name>.jpg <label>."""
    root = tmp_path_factory.mktemp("inaturalist")
    for split, each in (("train", (12, 6, 3, 1)), ("test", (2, 2, 2, 2))):
        lines = []
        for label, count in enumerate(each):
            for number in range(count):
                path = f"train_val2018/Plantae/{label}/{split}{number}.jpg"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(encoded(pixels(100 * label + len(lines), 48, 64), "JPEG"))
                lines.append(f"{path} {label}\n")
        (root / f"iNaturalist18_{split}.txt").write_text("".join(lines))
    out = tmp_path_factory.mktemp("data") / "inaturalist"
    lists = {split: f"iNaturalist18_{split}.txt" for split in ("train", "test")}
    build(open_source("list", root, **lists), out, workers=1)
    return out


SMALLER = ["train.batch=8", "train.steps=3", "train.precision=fp32", "data.threads=1"]


def trains(config, path):
    folder, summary = run(path, config)
    assert summary["steps"] == 3
    measured = Trained.load(folder, ALONE).measure("test")
    assert 0 <= measured["top1"] <= 1


@pytest.mark.parametrize(
    "recipe, backbone",
    [
        ("cifar10_lt/hybrid_sc", "cifar_resnet20"),
        ("cifar10_lt/hybrid_psc", "cifar_resnet20"),
        ("cifar100_lt/hybrid_psc", "cifar_resnet34"),
    ],
)
def test_the_recipes_of_cifar_train(small_cifar, tmp_path, recipe, backbone):
    config, _ = run_config.load(recipe, [f"data.path={small_cifar}", *SMALLER, f"model.backbone={backbone}"])
    trains(config, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_recipes_of_inaturalist_train(small_inaturalist, tmp_path, name):
    small = ["pipeline.size=64", "evaluate_pipeline.size=64", "model.backbone=resnet18"]
    config, _ = run_config.load(f"inaturalist/{name}", [f"data.path={small_inaturalist}", *SMALLER, *small])
    trains(config, tmp_path / "run")


CIFAR_RECIPES = [f"{data}/{name}{part}" for data in ("cifar10_lt", "cifar100_lt") for name in NAMES
                 for part in ("", "_if10", "_if50")]  # fmt: skip


@pytest.mark.parametrize("recipe", CIFAR_RECIPES)
def test_the_recipes_of_cifar_have_the_papers_settings(recipe):
    config, _ = run_config.load(recipe)
    folder, _, name = recipe.partition("/")
    method, _, imbalance = name.partition("_if")
    assert config.data.path.name == folder.replace("_", "-") + (f"-if{imbalance}" if imbalance else "")
    assert config.method.name == method
    assert config.method.temperature == (1.0 if (folder, method) == ("cifar10_lt", "hybrid_psc") else 0.1)
    assert (config.method.loss.name, config.method.classifier_stream.sampling) == ("cross_entropy", "class_balanced")
    assert config.model.backbone == "cifar_resnet32"
    assert (config.train.batch, config.train.epochs) == (512, 200)
    sgd, steps, pictures = config.optimizer, config.schedule, config.pipeline
    assert (sgd.name, sgd.lr, sgd.momentum, sgd.weight_decay) == ("sgd", 0.5, 0.9, 1e-4)
    assert (steps.name, steps.milestones, steps.gamma) == ("step", (120, 160), 0.1)
    assert (pictures.name, pictures.size, pictures.horizontal_flip, pictures.grayscale) == ("crop_flip", 32, 0.5, 0.2)
    assert pictures.color_jitter is None and pictures.rand_augment is None and pictures.cutout == 0
    assert pictures.mean == (0.4914, 0.4822, 0.4465) and pictures.std == (0.2023, 0.1994, 0.2010)
