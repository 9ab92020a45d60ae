"""From partly annotated pictures to a prior, and from the prior to a run that uses it."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

from fastlt import class_prior
from fastlt.commands.runs import prior_of_runs
from fastlt.commands.training import train_config
from fastlt.data.build import build
from fastlt.data.partial import Hiding
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError
from fastlt.train import checkpoint, state
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    begin,
    config_of,
    finished,
    run,
    trained_without_waiting,
    weights,
)

RECIPE = "digits_scenes/csl"
SILENT = Console(quiet=True)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    out = tmp_path_factory.mktemp("hidden") / "scenes"
    build(open_source("digits", form="scenes"), out, hiding=Hiding("rps", 0.5), workers=1)
    return out


@pytest.fixture(scope="module")
def ignoring(hidden, tmp_path_factory):
    """A run of the ignore mode, with its prior."""
    config = config_of(hidden, "train.steps=6", "method.mode=ignore", recipe=RECIPE)
    folder = finished(tmp_path_factory.mktemp("ignoring") / "run", config)
    prior_of_runs([folder.path], None, None, "cpu", SILENT)
    return folder


def test_the_prior_is_the_mean_probability_over_all_training_pictures_as_evaluation_shows_them(ignoring, hidden):
    found = class_prior.read(ignoring.path)
    trained = Trained.load(ignoring, ALONE)  # with averaged weights
    with ShardSet(hidden / "train") as records:
        scores, rows = trained.scores(records)
    expected = torch.from_numpy(scores).double().sigmoid().mean(0)
    assert found.prior == pytest.approx(expected.tolist(), rel=1e-9)
    assert found.images == len(rows) == trained.data.images
    assert found.classes == trained.data.classes and found.mode == "ignore"
    assert found.checkpoint_sha256 == hashlib.sha256(trained.checkpoint.read_bytes()).hexdigest()


@pytest.mark.slow
def test_several_runs_are_ranked_beside_the_annotations_and_the_labels_that_were_hidden(ignoring, hidden, scenes):
    found = prior_of_runs([ignoring.path, ignoring.path], scenes, None, "cpu", SILENT)
    with ShardSet(scenes / "train") as records:
        shares = records.counts / len(records)
    assert list(found["top"]) == ["original", "annotated", str(ignoring.path)]
    order = np.argsort(-shares, kind="stable")
    assert [row["name"] for row in found["top"]["original"]] == [records.classes[c] for c in order]
    assert [row["share"] for row in found["top"]["original"]] == pytest.approx(shares[order].tolist())
    own = [row["share"] for row in found["top"][str(ignoring.path)]]
    assert own == sorted(found["priors"][str(ignoring.path)], reverse=True)


def test_data_of_one_label_an_image_has_no_prior(digits, tmp_path):
    folder = finished(tmp_path / "run", config_of(digits, "train.steps=1", recipe="digits/csl"))
    with pytest.raises(UserError, match="each image has one label"):
        prior_of_runs([folder.path], None, None, "cpu", SILENT)


def test_a_run_that_was_stopped_has_no_prior_until_it_is_finished(hidden, tmp_path):
    config = config_of(hidden, "train.steps=2", "method.mode=ignore", recipe=RECIPE)
    folder = begin(tmp_path / "run", config)
    with Trainer.open(config, folder, ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=1)
        trainer.save()
    with pytest.raises(UserError, match="run is not finished; go on with fastlt train --resume --out"):
        prior_of_runs([folder.path], None, None, "cpu", SILENT)
    assert not (folder.path / "prior.json").exists()
    train_config(config, [], folder, True, "cpu", SILENT)
    assert prior_of_runs([folder.path], None, None, "cpu", SILENT)["priors"]


def test_a_finished_run_that_was_made_longer_is_none_any_more(hidden, tmp_path):
    settings = ("method.mode=ignore", "schedule.name=constant")
    folder = finished(tmp_path / "run", config_of(hidden, "train.steps=1", *settings, recipe=RECIPE))
    longer = config_of(hidden, "train.steps=3", *settings, recipe=RECIPE)
    with Trainer.open(longer, folder, ALONE, Display(quiet=True), resume=True) as trainer:
        state.restore(trainer, checkpoint.load(folder.last))
        trainer.run(until=2)
    with pytest.raises(UserError, match="is not finished"):
        prior_of_runs([folder.path], None, None, "cpu", SILENT)


def test_a_run_with_a_prior_resumes_exactly_even_when_the_run_it_came_from_is_gone(ignoring, hidden, tmp_path):
    prior = tmp_path / "elsewhere"
    shutil.copytree(ignoring.path, prior)
    settings = (f"method.prior={prior}", "method.prior_threshold=0.4", "train.steps=6", "train.ema=0.99")
    config = config_of(hidden, *settings, recipe=RECIPE)
    whole, _ = run(tmp_path / "whole", config)
    kept = checkpoint.load(whole.last)["model"]["prior"]
    assert kept.tolist() == pytest.approx(class_prior.read(prior).prior)
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=4)
        trainer.save()
    shutil.rmtree(prior)
    folder, _ = run(tmp_path / "run", config, resume=True)
    assert_equal_runs(folder, whole)


@pytest.mark.slow
def test_each_rule_of_selection_changes_the_trained_weights(ignoring, hidden, tmp_path):
    low = 0.5 * max(class_prior.read(ignoring.path).prior)
    rules = {
        "neither": ("method.top_k=0",),
        "likelihood": ("method.top_k=1",),
        "likelihood of each": ("method.top_k=1", "method.top_k_over=image"),
        "prior": ("method.top_k=0", f"method.prior={ignoring.path}", f"method.prior_threshold={low}"),
        "ignore": ("method.mode=ignore",),
        "normalized": ("method.mode=ignore_normalize_classes",),
    }
    ends = {}
    for name, settings in rules.items():
        config = config_of(hidden, "train.steps=2", "train.ema=0.5", *settings, recipe=RECIPE)
        with Trainer.open(config, begin(tmp_path / name, config), ALONE, Display(quiet=True)) as trainer:
            trainer.validation = None
            trainer.run()
        ends[name] = weights(RunFolder(tmp_path / name))["model.fc.weight"]
    names = list(ends)
    for place, one in enumerate(names):
        for other in names[:place]:
            assert not torch.equal(ends[one], ends[other]), (one, other)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_nothing_in_a_step_waits_for_the_device(hidden, tmp_path, over):
    config = config_of(hidden, f"method.top_k_over={over}", "method.alpha_unknown=0.5", recipe=RECIPE)
    trained_without_waiting(config, tmp_path / "run")
