"""Two-branch methods in the training loop: every setting counts, resuming is exact, and two ranks are one."""

import json

import pytest
import torch

from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    begin,
    config_of,
    ranks_run,
    rows,
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


@pytest.mark.parametrize("recipe", ["digits_scenes/collaborative", "digits_scenes/bbn"])
def test_a_run_stopped_in_the_middle_ends_with_the_same_bits(scenes, tmp_path, recipe):
    straight = scenes_run(tmp_path / "straight", scenes, recipe=recipe)
    config = config_of(scenes, *SHORT, recipe=recipe)
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


@pytest.mark.parametrize("method", ["collaborative", pytest.param("bbn", marks=pytest.mark.slow)])
def test_two_ranks_train_as_one(digits, tmp_path, method):
    settings = (f"method.name={method}", "train.steps=1", "model.sync_batch_norm=true", "optimizer.lr=0.001")
    settings += ("schedule.warmup=0",)
    done = ranks_run(tmp_path / "two", digits, 2, *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    folder, _ = run(tmp_path / "one", config_of(digits, *settings))
    with Trainer.open(config_of(digits, *settings), folder, ALONE, Display(quiet=True)) as trainer:
        start = trainer.method.state_dict()
    one, two = weights(folder), weights(RunFolder(tmp_path / "two"))
    for name, before in start.items():
        update = (one[name] - before).float().norm()
        assert (two[name] - one[name]).float().norm() <= 0.02 * update + 1e-7, name
    first, second = rows(folder)[0], rows(RunFolder(tmp_path / "two"))[0]
    assert first["terms"] == pytest.approx(second["terms"], rel=1e-4, abs=1e-7)
    assert list(json.loads((tmp_path / "two" / "summary.json").read_text())["parts"])


@pytest.mark.slow
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
