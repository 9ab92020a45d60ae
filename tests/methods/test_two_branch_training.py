"""Two-branch methods in the training loop: every setting counts, resuming is exact, and two ranks are one."""

import json

import pytest
import torch

from fastlt.train.display import Display
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    assert_two_ranks_train_as_one,
    begin,
    config_of,
    run,
    trained_without_waiting,
    weights,
)

SHORT = ("train.steps=4", "train.ema=0.9", "train.batch=8", "optimizer.lr=0.05")
SETTINGS = {
    "no consistency": "method.consistency=0",
    "more consistency": "method.consistency=1",
    "shared compensation": "method.compensation=shared",
    "no compensation": "method.compensation=none",
    "no class weights": "method.class_weights=none",
    "three of a class": "method.rebalanced.images_per_class=3",
}


def scenes_run(path, scenes, *overrides, recipe="digits_scenes/collaborative"):
    return run(path, config_of(scenes, *SHORT, *overrides, recipe=recipe))[0]


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    return scenes_run(tmp_path_factory.mktemp("collaborative") / "run", scenes)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_changes_the_trained_weights(scenes, whole, tmp_path, setting):
    changed = weights(scenes_run(tmp_path / "run", scenes, SETTINGS[setting]))
    name = "network.bottom.network.conv1.weight"
    assert not torch.equal(changed[name], weights(whole)[name])


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("digits_scenes/collaborative", ()), ("digits_scenes/bbn", ("method.whole_epochs=false",))],
)
def test_a_run_stopped_in_the_middle_ends_with_the_same_bits(scenes, tmp_path, recipe, settings):
    straight = scenes_run(tmp_path / "straight", scenes, *settings, recipe=recipe)
    config = config_of(scenes, *SHORT, *settings, recipe=recipe)
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=2)
        trainer.save()
    stopped, _ = run(tmp_path / "run", config, resume=True)
    assert_equal_runs(straight, stopped)


def test_the_compensation_is_part_of_the_checkpoint_and_learns(whole):
    state = weights(whole)
    learnt = [value for name, value in state.items() if name.startswith("compensation.")]
    assert len(learnt) == 8 and all(value.any() for value in learnt)


@pytest.mark.parametrize("recipe", ["digits_scenes/collaborative", "digits_scenes/bbn", "digits_scenes/db_focal"])
def test_nothing_in_a_step_waits_for_the_device(scenes, tmp_path, recipe):
    config = config_of(scenes, *SHORT, recipe=recipe)
    trained_without_waiting(config, tmp_path / "run")


def test_each_step_sees_other_pictures_and_a_rebalanced_batch_many_classes(scenes, tmp_path):
    config = config_of(scenes, *SHORT, recipe="digits_scenes/collaborative")
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        first, second = next(trainer.loader), next(trainer.loader)
    for name in ("uniform", "rebalanced"):
        assert not torch.equal(first.index[name], second.index[name])
    assert not torch.equal(first.index["uniform"], first.index["rebalanced"])
    assert (first.labels["rebalanced"] == 1).any(0).sum() >= 8  # eight classes are drawn, each once


def test_the_run_reports_each_branch_alone(scenes, whole):
    found = Trained.load(whole, ALONE).measure("test")
    assert list(found["parts"]) == ["uniform", "rebalanced"]
    assert {found["mAP"], *(part["mAP"] for part in found["parts"].values())} != {found["mAP"]}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("collaborative", ()),
        pytest.param("bbn", ("train.steps=2", "method.whole_epochs=false"), marks=pytest.mark.slow),  # both branches
    ],
)
def test_two_ranks_train_as_one(digits, tmp_path, method, settings):
    common = (f"method.name={method}", "model.sync_batch_norm=true")
    assert_two_ranks_train_as_one(tmp_path, digits, *common, *settings)
    assert list(json.loads((tmp_path / "two" / "summary.json").read_text())["parts"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_collaborative_training_beats_its_own_uniform_branch_on_the_tail(scenes, tmp_path):
    """In the mean over five seeds."""
    settings = (
        "train.epochs=4",
        "train.batch=32",
        "pipeline.size=32",
        "train.log_every=50",
        "train.checkpoint_every=500",
    )
    gains = []
    for seed in range(5):
        config = config_of(scenes, *settings, f"seed={seed}", recipe="digits_scenes/collaborative")
        found = Trained.load(run(tmp_path / str(seed), config)[0], ALONE).measure("test")
        gains.append(found["tail"] - found["parts"]["uniform"]["tail"])
    assert sum(gains) / len(gains) > 0, gains
