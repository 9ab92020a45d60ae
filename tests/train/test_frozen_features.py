"""A run that keeps what its frozen stages make of the pictures is the run that computes it in every step."""

import json

import numpy as np
import pytest
import torch
from corrupted import corrupted

from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.train import frozen_features
from fastlt.train.display import Display
from fastlt.train.trainer import Trainer
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    assert_two_ranks_train_as_one,
    begin,
    config_of,
    finished,
    rows,
    run,
    weights,
)

FROZEN = ("pipeline.name=squash", "model.frozen_stages=2", "train.steps=8", "train.ema=0.9", "train.evaluate_every=0.2")
CACHED = (*FROZEN, "model.cache_frozen=true")
WAYS = {"kept": CACHED, "computed": FROZEN}


def terms(folder):
    return [row["terms"] for row in rows(folder) if "terms" in row]


@pytest.mark.parametrize("recipe", ["digits/erm", "digits/hybrid_psc", "digits/crt"])
def test_it_learns_the_same(digits, tmp_path, recipe):
    one = run(tmp_path / "kept", config_of(digits, *CACHED, recipe=recipe))[0]
    other = run(tmp_path / "computed", config_of(digits, *FROZEN, recipe=recipe))[0]
    for name, value in weights(other).items():
        torch.testing.assert_close(weights(one)[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert terms(one) == [pytest.approx(each, rel=1e-4) for each in terms(other)]


@pytest.mark.parametrize("recipe", ["digits/erm", "digits/hybrid_psc"])
def test_it_learns_the_same_in_half_precision(digits, tmp_path, recipe):
    """What is kept has the type that the stages behind would have been given."""
    half = ("model.frozen_stages=1", "train.precision=bf16", "train.steps=4")
    one = run(tmp_path / "kept", config_of(digits, *CACHED, *half, recipe=recipe))[0]
    other = run(tmp_path / "computed", config_of(digits, *FROZEN, *half, recipe=recipe))[0]
    assert terms(one) == [pytest.approx(each, rel=1e-3) for each in terms(other)]


def test_two_branches_learn_the_same_from_streams_side_by_side(scenes, tmp_path):
    recipe = "digits_scenes/collaborative"
    flips = ("pipeline.horizontal_flip=0.5", "pipeline.vertical_flip=0.5")
    one = run(tmp_path / "kept", config_of(scenes, *CACHED, *flips, recipe=recipe))[0]
    other = run(tmp_path / "computed", config_of(scenes, *FROZEN, *flips, recipe=recipe))[0]
    assert terms(one) == [pytest.approx(each, rel=1e-3, abs=1e-6) for each in terms(other)]


@pytest.fixture
def first_stage(digits, tmp_path):
    """A run that gives another its frozen weights, at the beginning and never again."""
    return finished(tmp_path / "first", config_of(digits, "train.steps=4")).path


@pytest.mark.parametrize("recipe", ["digits/erm", "digits/crt"])
def test_it_resumes_to_the_same_bits(digits, tmp_path, first_stage, recipe):
    start = [f"method.first_stage={first_stage}"] if recipe == "digits/crt" else []
    config = config_of(digits, *CACHED, *start, recipe=recipe)
    whole = run(tmp_path / "whole", config)[0]
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=5)
        trainer.save()
    assert_equal_runs(run(tmp_path / "run", config, resume=True)[0], whole)


def test_the_trained_run_is_one_of_pictures(digits, tmp_path):
    kept, computed = (finished(tmp_path / name, config_of(digits, *way)) for name, way in WAYS.items())
    found, wanted = (json.loads(folder.summary.read_text())["metrics"] for folder in (kept, computed))
    assert found["images"] == 450 and found["top1"] == pytest.approx(wanted["top1"], abs=0.01)


def test_two_ranks_compute_a_share_each_and_train_as_one(digits, tmp_path):
    more = ("pipeline.name=squash", "model.frozen_stages=2", "model.cache_frozen=true", "model.frozen_batch_norm=true")
    assert_two_ranks_train_as_one(tmp_path, digits, *more)


def test_a_method_that_shows_the_pictures_to_a_teacher_is_refused(digits, tmp_path):
    teacher = finished(tmp_path / "teacher", config_of(digits, *FROZEN, recipe="digits/bsce"))
    with pytest.raises(UserError, match="method dive shows the pictures to another network"):
        run(tmp_path / "run", config_of(digits, *CACHED, f"method.teacher={teacher.path}", recipe="digits/dive"))


def test_a_recipe_that_crops_is_refused_before_anything_is_written(digits, tmp_path):
    with pytest.raises(UserError, match=r"pipeline\.name=crop_flip"):
        run(tmp_path / "run", config_of(digits, "model.frozen_stages=2", "model.cache_frozen=true"))
    assert not (tmp_path / "run").exists()


def test_features_that_do_not_fit_end_in_one_line(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_features, "free_memory", lambda device: 1 << 20)
    with pytest.raises(UserError, match=r"takes 0\.0 GB, and 0\.0 GB are free, of which it may take half") as error:
        run(tmp_path / "run", config_of(digits, *CACHED))
    assert "\n" not in str(error.value)


def test_pictures_that_cannot_be_shown_are_named(digits, tmp_path):
    data = corrupted(digits, tmp_path / "digits", {3: b"", 40: b"no picture"})
    with ShardSet(data / "train") as records:
        names = ", ".join(records.ids(np.array([3, 40])))
    with pytest.raises(UserError, match=f"2 pictures cannot be shown, among them {names}; build"):
        run(tmp_path / "run", config_of(data, *CACHED))
