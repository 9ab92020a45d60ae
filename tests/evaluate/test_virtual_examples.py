"""Virtual examples: counted on pictures that are not augmented, and the rule that reads a temperature off them."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastlt.cli import commands
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.evaluate.virtual_examples import VirtualExamples, virtual_examples
from fastlt.report.virtual_examples import temperature_rule, virtual_examples_plot
from fastlt.train.trained import Trained
from tests.train.test_trainer import ALONE, config_of, environment, finished

TEMPERATURES = [1.0, 4.0, 20.0]


@pytest.fixture(scope="module")
def teacher(digits, tmp_path_factory):
    """A short run whose training pictures are much augmented."""
    config = config_of(digits, "train.steps=4", "pipeline.size=32", "pipeline.cutout=24", recipe="digits/bsce")
    return finished(tmp_path_factory.mktemp("teacher") / "run", config)


def scores_of_pictures(trained, records):
    """What the network makes of every picture as it lies in the data set, read with Pillow."""
    stored = records.read(range(len(records)))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in stored]) / 255
    shown = trained.config.pipeline
    images = torch.from_numpy((pixels - shown.mean) / shown.std).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        return trained.method.predict(images).numpy()


@pytest.fixture(scope="module")
def found(digits, teacher):
    trained = Trained.load(teacher, ALONE)
    with ShardSet(digits / "train") as records:
        scores = scores_of_pictures(trained, records)
        counted = virtual_examples(trained.method, records, trained.config, ALONE, trained.data, TEMPERATURES)
    return counted, scores


def test_they_are_the_sums_of_the_teachers_softmax_over_the_plain_training_images(found):
    counted, scores = found
    for row, temperature in zip(counted.examples, TEMPERATURES, strict=True):
        expected = torch.from_numpy(scores).double().div(temperature).softmax(1).sum(0)
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_at_every_temperature_they_are_as_many_as_the_images_and_a_higher_one_is_flatter(found):
    counted, scores = found
    assert counted.images == len(scores) == sum(counted.counts)
    np.testing.assert_allclose(np.sum(counted.examples, axis=1), counted.images)
    spread = np.std(counted.examples, axis=1)
    assert spread[0] > spread[1] > spread[2]


def test_groups_stand_from_the_most_frequent_and_hold_every_class_once(found):
    counted, _ = found
    assert list(counted.groups) == ["many", "medium", "few"]
    assert sorted(sum(counted.groups.values(), [])) == list(range(10))


def of_paper(temperatures=(20.0, 6.0, 3.0, 1.0)):
    """Balanced softmax on CIFAR-100-LT, imbalance 100: the group means of the paper's figure 5, one class a group."""
    means = {1.0: [237, 53, 23], 3.0: [169, 71, 81], 6.0: [113, 92, 123], 20.0: [103, 105, 119]}
    groups = {"many": [0], "medium": [1], "few": [2]}
    rows = [[float(value) for value in means[t]] for t in temperatures]
    return VirtualExamples(["a", "b", "c"], [252, 49, 10], 311, groups, list(temperatures), rows)


def test_the_rule_gives_what_the_paper_chose_also_in_its_power_form():
    assert of_paper().proper_temperature == 6
    said = temperature_rule(of_paper())
    assert "method.temperature=6 and method.power=1" in said and "method.temperature=3 and method.power=0.5" in said


def test_where_no_temperature_is_high_enough_none_is_chosen():
    assert of_paper((1.0, 3.0)).proper_temperature is None
    assert "try higher ones" in temperature_rule(of_paper((1.0, 3.0)))


def test_one_group_alone_gives_no_rule():
    alone = VirtualExamples(["a", "b"], [200, 150], 350, {"many": [0, 1]}, [1.0], [[200.0, 150.0]])
    assert alone.proper_temperature is None and "all classes are in one group" in temperature_rule(alone)


def test_the_plot_shows_the_training_images_and_the_proper_temperature_among_few():
    many = of_paper()
    wide = VirtualExamples(
        many.classes, many.counts, 311, many.groups, [float(t) for t in range(1, 21)], [[100.0, 100.0, 111.0]] * 20
    )
    labels = [text.get_text() for text in virtual_examples_plot(wide).axes[0].get_legend().get_texts()]
    assert "training images" in labels and "temperature 1" in labels and len(labels) <= 8


def test_several_labels_an_image_are_refused(found, scenes, teacher):
    trained = Trained.load(teacher, ALONE)
    with ShardSet(scenes / "train") as records, pytest.raises(UserError, match="one label an image"):
        data = replace(trained.data, multi_label=True)
        virtual_examples(trained.method, records, trained.config, ALONE, data, TEMPERATURES)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fastlt", *map(str, arguments)], env=environment(), capture_output=True, text=True
    )


def test_the_command_prints_the_table_and_keeps_figures_and_plot_in_the_run(teacher, found, tmp_path):
    done = command("virtual-examples", teacher.path, "--temperatures", "20,1,4,1", "--json", tmp_path / "v.json")
    assert done.returncode == 0, done.stderr
    kept = json.loads((teacher.path / "virtual_examples.json").read_text())
    assert kept == json.loads((tmp_path / "v.json").read_text())
    assert kept["temperatures"] == TEMPERATURES and kept["groups"] == found[0].groups
    np.testing.assert_allclose(kept["examples"], found[0].examples, rtol=1e-5)
    assert (teacher.path / "virtual_examples.png").read_bytes().startswith(b"\x89PNG")
    assert "training images" in done.stdout and "few (" in done.stdout and "temperature" in done.stdout


def test_a_run_that_was_stopped_is_no_teacher(teacher, tmp_path):
    shutil.copytree(teacher.path, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    done = CliRunner().invoke(commands, ["virtual-examples", str(tmp_path / "run")])
    assert done.exit_code != 0 and "is not finished; go on with fastlt train --resume" in str(done.exception)


@pytest.mark.parametrize("text", ["0,1", "one", "", "1,inf", "nan"])
def test_temperatures_that_are_none_are_wrong_usage(tmp_path, text):
    done = CliRunner().invoke(commands, ["virtual-examples", str(tmp_path), "--temperatures", text])
    assert done.exit_code == 2 and "give numbers above 0 with commas between" in done.output
