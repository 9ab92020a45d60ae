"""Thresholds as a user meets them: fitted where they may be, kept in the run, and used by eval and predict."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fastlt.cli import commands
from fastlt.data.build import build
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.errors import UserError

SHORT = ["train.steps=4", "train.batch=16", "pipeline.size=16", "train.precision=fp32", "data.threads=1"]


def fastlt(*arguments):
    commands.main(list(map(str, arguments)), prog_name="fastlt", standalone_mode=False)


def trained_run(recipe, data, out):
    settings = [part for value in [f"data.path={data}", *SHORT] for part in ("--set", value)]
    fastlt("train", recipe, "--out", out, "--device", "cpu", *settings)
    return out


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    return trained_run("digits_scenes/erm", scenes, tmp_path_factory.mktemp("annotation") / "run")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def evaluated(run, *arguments):
    fastlt("eval", run, "--json", run / "eval.json", *arguments)
    return json.loads((run / "eval.json").read_text())["annotation"]


def set_all(run, threshold):
    kept = json.loads((run / "thresholds.json").read_text())
    for label in kept["labels"]:
        label["threshold"] = threshold
    (run / "thresholds.json").write_text(json.dumps(kept))


def test_training_reports_which_labels_are_given(finished, capsys):
    found = json.loads((finished / "summary.json").read_text())["metrics"]["annotation"]
    assert found.keys() == {"threshold 0.5"}
    assert {"class_f1", "micro_f1", "N+"} <= found["threshold 0.5"].keys()
    assert "Which labels are given" in (finished / "report.html").read_text()


def test_thresholds_are_fitted_on_validation_and_kept_with_where_they_come_from(run, scenes, capsys):
    fastlt("thresholds", run, "--json", run / "figures.json")
    kept = json.loads((run / "thresholds.json").read_text())
    with ShardSet(scenes / "val") as records:
        assert kept["images"] == len(records)
        assert [label["name"] for label in kept["labels"]] == list(records.classes)
    assert (kept["checkpoint"], kept["step"], kept["split"], kept["data"]) == ("best.pt", 4, "val", str(scenes))
    assert {label["threshold"] for label in kept["labels"]} <= {*kept["candidates"], kept["common"]}
    shown = capsys.readouterr().out
    assert "threshold 0.5" in shown and "these thresholds" in shown
    figures = json.loads((run / "figures.json").read_text())
    assert figures["thresholds"] == {label["name"]: label["threshold"] for label in kept["labels"]}
    assert figures["labels_with_the_common_one"] == [row["name"] for row in kept["labels"] if row["mcc"] is None]


def test_every_score_is_a_candidate_on_demand_and_no_worse_than_the_grid_there(run):
    means = []
    for which in ("--grid", "--all-scores"):
        fastlt("thresholds", run, which)
        kept = json.loads((run / "thresholds.json").read_text())["labels"]
        means.append(np.mean([label["mcc"] or 0 for label in kept]))
    assert means[1] >= means[0]


def test_eval_shows_both_and_uses_what_the_run_keeps(run, capsys):
    before = evaluated(run)
    fastlt("thresholds", run)
    assert evaluated(run).keys() == {"threshold 0.5", "fitted thresholds"}
    assert "fitted thresholds" in capsys.readouterr().out
    set_all(run, 0.0)
    found = evaluated(run)
    assert found["threshold 0.5"] == before["threshold 0.5"]
    assert found["fitted thresholds"]["micro_recall"] == pytest.approx(1)
    set_all(run, 1.0)
    assert evaluated(run)["fitted thresholds"]["N+"] == 0


def test_thresholds_of_one_checkpoint_are_not_used_for_another(run):
    fastlt("thresholds", run, "--checkpoint", "best")
    assert evaluated(run, "--checkpoint", "last").keys() == {"threshold 0.5"}


def test_predict_gives_the_labels_that_reach_their_thresholds(run, tmp_path):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(picture)
    fastlt("thresholds", run)
    labels = [label["name"] for label in json.loads((run / "thresholds.json").read_text())["labels"]]
    for threshold, expected in ((0.0, labels), (1.0, [])):
        set_all(run, threshold)
        fastlt("predict", run, picture, "--out", tmp_path / "labels.csv")
        (row,) = csv.DictReader((tmp_path / "labels.csv").open())
        assert row["labels"] == ";".join(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "would be measured on what they were fitted to; use val"),
        (["--split", "train"], "knows its training images too well"),
        (["--data", "nowhere"], "nowhere holds no data set"),
    ],
)
def test_where_thresholds_may_not_come_from(run, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        fastlt("thresholds", run, *arguments)
    assert "\n" not in str(error.value) and not (run / "thresholds.json").exists()


def test_a_run_of_one_label_an_image_has_no_thresholds(digits, tmp_path):
    run = trained_run("digits/erm", digits, tmp_path / "run")
    with pytest.raises(UserError, match="one label an image"):
        fastlt("thresholds", run)


@pytest.mark.slow
def test_without_a_validation_split_cross_fitting_scores_each_training_image_by_a_network_that_never_saw_it(
    tmp_path,
):
    data = tmp_path / "data"
    build(open_source("digits", form="scenes"), data, val=0, workers=1)
    run = trained_run("digits_scenes/erm", data, tmp_path / "run")
    with pytest.raises(UserError, match="has no validation split; .*--folds 5"):
        fastlt("thresholds", run)
    fastlt("thresholds", run, "--folds", "2")
    kept = json.loads((run / "thresholds.json").read_text())
    with ShardSet(data / "train") as whole:
        everything = set(whole.ids(np.arange(len(whole))))
        assert (kept["images"], kept["split"], kept["folds"]) == (len(whole), "train", 2)
    seen = []
    for fold in ("1-of-2", "2-of-2"):
        with ShardSet(run / "cross_fit" / fold / "data" / "train") as part:
            seen.append(set(part.ids(np.arange(len(part)))))
    assert seen[0] | seen[1] == everything and not seen[0] & seen[1]  # so each was left out once
    assert "fitted thresholds" in evaluated(run)


def test_gradients_are_drawn_written_and_shown(tmp_path, capsys):
    plot, figures = tmp_path / "gradients.png", tmp_path / "gradients.json"
    fastlt("gradients", "corel5k/bce", "corel5k/asl", "--plot", plot, "--json", figures)
    found = json.loads(figures.read_text())
    assert found["x"][0] == -8 and found["x"][-1] == 8 and 0 in found["x"]
    middle = found["x"].index(0)
    assert found["dL/dx"]["corel5k/bce"]["positive"][middle] == pytest.approx(-0.5)
    assert found["losses"]["corel5k/asl"]["gamma_negative"] == 4
    assert Image.open(plot).size[0] > 800
    assert "-0.5000" in capsys.readouterr().out


def test_unknown_labels_are_drawn_beside_where_a_loss_lets_them_pull(tmp_path, capsys):
    plot, figures = tmp_path / "gradients.png", tmp_path / "gradients.json"
    fastlt("gradients", "digits_scenes/csl", "digits/bsce", "--plot", plot, "--json", figures)
    found = json.loads(figures.read_text())
    assert list(found["dL/dx"]["digits_scenes/csl"]) == ["positive", "negative", "unknown"]
    assert list(found["dL/dx"]["digits/bsce"]) == ["positive", "negative"]
    assert found["losses"]["digits_scenes/csl"]["gamma_unknown"] == 4
    assert Image.open(plot).size[0] > 1200
    unknown = capsys.readouterr().out.split("of an unknown label")[1]
    assert "digits_scenes/csl" in unknown and "digits/bsce" not in unknown


def test_a_loss_that_depends_on_a_teacher_has_no_gradients_to_draw(tmp_path):
    with pytest.raises(UserError, match="recipe digits/dive: .* depends on what its teacher says"):
        fastlt("gradients", "digits/bsce", "digits/dive", "--plot", tmp_path / "gradients.png")
    assert not (tmp_path / "gradients.png").exists()


def test_a_sweep_shows_the_same_runs_with_and_without_thresholds(scenes, tmp_path, capsys):
    (tmp_path / "made.sweep.yaml").write_text(
        "recipe: digits_scenes/erm\nmetrics: [mAP, class_f1, N+]\nrows:\n  - label: BCE\n"
        "  - {label: BCE with thresholds, runs_of: BCE, thresholds: grid}\n"
    )
    settings = [part for value in [f"data.path={scenes}", *SHORT] for part in ("--set", value)]
    fastlt("sweep", tmp_path / "made.sweep.yaml", "--out", tmp_path / "out", "--device", "cpu", *settings)
    plain, fitted = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    run = tmp_path / "out" / "bce" / "seed-0"
    found = evaluated(run)
    for row, thresholds in ((plain, "threshold 0.5"), (fitted, "fitted thresholds")):
        assert row["mean"].keys() == {"mAP", "class_f1", "N+"}
        assert row["mean"]["class_f1"] == pytest.approx(found[thresholds]["class_f1"])
    assert f"{found['fitted thresholds']['N+']:.1f}" in capsys.readouterr().out  # a number of labels, no percentage
