"""Recipes: checked before anything is loaded; a mistake is named with its place and the nearest right key."""

import pytest

from fastlt import config, resources
from fastlt.errors import UserError


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", resources.list_recipes())
def test_every_recipe_of_the_package_is_valid(name):
    loaded, changes = config.load(name)
    assert loaded.train.batch > 0
    assert bool(changes) is ("extends: " in resources.recipe(name))


def test_what_is_overridden_is_told_also_for_a_recipe_without_a_parent():
    assert config.load("digits/erm", ["train.epochs=5"])[1] == ["train.epochs: 24 -> 5"]


def test_a_recipe_extends_another_and_says_what_it_changes(tmp_path):
    write(tmp_path / "parent.yaml", "data: {path: d}\noptimizer: {lr: 0.1, momentum: 0.8}\n")
    child = write(tmp_path / "child.yaml", "extends: parent.yaml\noptimizer: {lr: 0.2}\nseed: 3\n")
    loaded, changes = config.load(child, ["train.batch=64", "method.stream.sampling=class_balanced"])
    assert (loaded.optimizer.lr, loaded.optimizer.momentum, loaded.seed) == (0.2, 0.8, 3)
    assert changes == [
        "optimizer.lr: 0.1 -> 0.2",
        "seed: - -> 3",
        "train.batch: - -> 64",
        "method.stream.sampling: - -> class_balanced",
    ]


def test_a_resolved_config_reads_back_as_itself(tmp_path):
    loaded, _ = config.load("digits/erm_class_balanced", ["train.clip_norm=1.5", "schedule.milestones=[1, 2]"])
    assert config.load(write(tmp_path / "c.yaml", config.dump(loaded)))[0] == loaded


def test_scientific_notation_is_a_number():
    assert config.load("digits/erm", ["optimizer.lr=1e-3"])[0].optimizer.lr == 0.001


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rate=1", "unknown key optimizer.learning_rate"),
        ("train.bacth=8", "unknown key train.bacth; did you mean train.batch?"),
        ("train.lr=0.1", "unknown key train.lr; did you mean optimizer.lr?"),
        ("trian.batch=8", "unknown key trian; did you mean train?"),
        ("train.batch=many", "train.batch = 'many': input should be a valid integer"),
        ("optimizer.lr=-1", "optimizer.lr = -1: input should be greater than 0"),
        ("pipeline.name=crop", "pipeline.name = 'crop': input should be 'crop_flip'"),
        ("train.batch", "write it as section.key=value"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as error:
        config.load("digits/erm", [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {path: d", "no valid YAML"),
        ("- 1\n", "holds no mapping"),
        ("seed: 1\n", "data is missing"),
        ("extends: self.yaml\n", "extends itself"),
        ("extends: nowhere/at_all\n", "no recipe nowhere/at_all"),
    ],
)
def test_wrong_files_are_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        config.load(write(tmp_path / "self.yaml", text) and "self.yaml")
