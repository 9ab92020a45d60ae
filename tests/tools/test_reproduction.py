"""The reproduction: what is kept of runs, how rows are compared, and the page of it."""

import json
import os
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from math import sqrt
from pathlib import Path
from statistics import stdev

import pytest

from fastlt import config as run_config
from fastlt import sweep

TOOLS = Path(__file__).parents[2] / "tools"
sys.path[:0] = [str(TOOLS)]

import reproduce  # noqa: E402
from reproduction import keep, page  # noqa: E402
from reproduction.compare import paired  # noqa: E402
from reproduction.parts import DATA, PRESETS  # noqa: E402


def row(label, **seeds):
    runs = [{"seed": int(s[1:]), "metrics": {"top1": value}, "parts": {}} for s, value in seeds.items()]
    return {"label": label, "recipe": "cifar10_lt/erm", "set": [], "runs": runs}


class TestComparison:
    def test_differences_are_between_runs_of_the_same_seed(self):
        found = paired(row("a", s0=0.5, s1=0.7, s2=0.9), row("b", s2=0.6, s1=0.5, s0=0.4), "top1")
        assert found.mean == pytest.approx(0.2) and found.pairs == 3
        assert found.error == pytest.approx(stdev([0.1, 0.2, 0.3]) / sqrt(3))
        assert found.verdict == "yes"

    def test_a_gain_within_its_standard_error_is_none(self):
        found = paired(row("a", s0=0.5, s1=0.7), row("b", s0=0.6, s1=0.55), "top1")
        assert found.mean == pytest.approx(0.025) and found.verdict == "no"

    def test_one_pair_has_no_standard_error_and_rows_without_a_common_seed_no_difference(self):
        assert paired(row("a", s0=0.5, s1=0.1), row("b", s0=0.4), "top1").verdict == "yes (one seed)"
        assert paired(row("a", s0=0.4), row("b", s0=0.5), "top1").verdict == "no (one seed)"
        assert paired(row("a", s0=0.5), row("b", s1=0.4), "top1") is None


@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_names_data_rows_and_figures_that_there_are(preset):
    for part in PRESETS[preset]:
        spec = sweep.load(part.sweep)
        labels = {variant.label for variant in sweep.variants(spec)}
        assert part.data in DATA
        assert {part.baseline, *part.virtual_examples, *(label for pair in part.above for label in pair)} <= labels
        chosen = spec.model_copy(update={"published": part.published or spec.published})
        assert set(sweep.published(chosen)) & labels


def test_all_rows_of_a_part_have_the_same_budget_but_those_that_say_otherwise():
    for part in PRESETS["cpu"] + PRESETS["reasons"]:
        variants = [v for v in sweep.variants(sweep.load(part.sweep)) if not v.runs_of and "epochs" not in v.label]
        budgets = {
            (config.train.epochs, config.train.batch, config.model.backbone, config.pipeline.size, config.optimizer.lr)
            for config in (run_config.load(variant.recipe, variant.overrides)[0] for variant in variants)
        }
        assert len(budgets) == 1, part.name


@pytest.fixture
def runs(tmp_path):
    """A finished part of two rows, as a sweep leaves it."""
    part = next(part for part in PRESETS["cpu"] if part.name == "cifar10-lt-100")
    rows = [row("CE", s0=0.5, s1=0.52), row("balanced softmax", s0=0.6, s1=0.64)]
    for one in rows:
        one["set"] = [f"data.path={tmp_path}/data", "train.epochs=15"]
        for run in one["runs"]:
            folder = tmp_path / "out" / one["label"].replace(" ", "-").lower() / f"seed-{run['seed']}"
            folder.mkdir(parents=True)
            run["folder"] = str(folder)
            summary = {"epochs": 15, "training_images": 12406, "images_per_second": 3101.5, "per_class": [{}] * 21}
            (folder / "summary.json").write_text(json.dumps(summary))
            (folder / "environment.json").write_text(json.dumps({"python": "3.11", "threads": 1}))
    (tmp_path / "out" / "table.json").write_text(
        json.dumps({"sweep": part.sweep, "metrics": ["top1"], "rows": rows, "failed": {}})
    )
    return part, tmp_path / "out"


def test_what_is_kept_names_no_path_of_the_machine(runs, tmp_path):
    part, out = runs
    keep.results(part, out, tmp_path / "docs" / "reproduction")
    kept = sorted((tmp_path / "docs" / "reproduction" / part.name).iterdir())
    assert [file.name for file in kept] == [
        "balanced-softmax-seed-0.json",
        "balanced-softmax-seed-1.json",
        "ce-seed-0.json",
        "ce-seed-1.json",
        "table.json",
    ]
    assert not [file for file in kept if str(tmp_path) in file.read_text()]
    table = json.loads(kept[-1].read_text())
    assert [run["minutes"] for run in table["rows"][0]["runs"]] == [1.0, 1.0]
    assert "per_class" not in json.loads(kept[0].read_text())


def test_the_page_shows_differences_verdicts_and_what_is_not_run_yet(runs, tmp_path):
    part, out = runs
    keep.results(part, out, tmp_path / "docs" / "reproduction")
    page.write(PRESETS["cpu"], PRESETS["reasons"], tmp_path / "docs")
    text = (tmp_path / "docs" / "reproduction.md").read_text()
    assert "| balanced softmax | +11.00 ± 1.00 | 2 |" in text
    assert "- balanced softmax above CE in top1: **yes**, +11.00 ± 1.00." in text
    assert "70.36" in text and "`train.epochs=15`. 4 runs, 4 minutes of training." in text
    assert "Without the reasons: 4 runs, 4 minutes of training, of one core each." in text
    assert "Not run yet: Corel-5k; Corel-5k, all stages learning;" in text
    folder = tmp_path / "docs" / "reproduction"
    for plot in (folder / part.name / "plot.png", folder / "differences.png"):
        assert plot.stat().st_size > 5_000


def test_there_is_no_page_of_nothing(tmp_path):
    assert not page.write(PRESETS["cpu"], PRESETS["reasons"], tmp_path) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "nothing"], "preset cpu has no part nothing; it has cifar10-lt-100,"),
        (["--row", "ASL"], "--row is of one part; name it with --part"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, said):
    ended = subprocess.run([sys.executable, TOOLS / "reproduce.py", *arguments], capture_output=True, text=True)
    assert ended.returncode == 2 and said in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_part_is_reproduced_once_and_no_more_of_them_at_once_than_asked_for(jobs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the tool would set for the runs
    parts, done, running, most = list(PRESETS["cpu"]), [], set(), []
    together = threading.Barrier(jobs)

    def reproduced(part, asked):
        running.add(part.name)
        most.append(len(running))
        if len(most) <= jobs:
            together.wait(10)  # the first ones meet
        running.remove(part.name)
        done.append(part.name)
        return part.name not in ("corel5k", "cifar10-lt-10")

    monkeypatch.setattr(reproduce, "_reproduce", reproduced)
    failed = reproduce._not_whole(parts, Namespace(jobs=jobs))
    assert sorted(failed) == ["cifar10-lt-10", "corel5k"]
    assert sorted(done) == sorted(part.name for part in parts)
    assert max(most) == jobs


def test_after_ctrl_c_nothing_begins_any_more(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(reproduce, "_stopped", threading.Event())
    begun, commands = [], []

    def interrupted(part, asked):
        begun.append(part.name)
        assert reproduce._stopped.wait(10)
        commands.append(reproduce._fastlt("--version"))

    monkeypatch.setattr(reproduce, "_reproduce", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of tests may ignore it
    try:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            reproduce._not_whole(list(PRESETS["cpu"]), Namespace(jobs=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(begun) == 2 and commands == [False, False]
