"""A sweep: what its file may say, that it goes on where it was, and the table of it."""

import io
import json
import shutil
from statistics import mean, stdev

import pytest
from rich.console import Console

from fastlt import config as run_config
from fastlt import resources, sweep
from fastlt.errors import UserError
from fastlt.report import sweep_table

SMALL = "{train.steps: 2, train.batch: 8, pipeline.size: 16, pipeline.pad: 2, train.precision: fp32, data.threads: 1}"


def written(tmp_path, text):
    file = tmp_path / "made.sweep.yaml"
    file.write_text(text)
    return str(file)


def variants(tmp_path, rows):
    return sweep.variants(sweep.load(written(tmp_path, f"recipe: digits/erm\nset: {{train.batch: 8}}\nrows:\n{rows}")))


class TestTheFile:
    @pytest.mark.parametrize("name", resources.list_sweeps())
    def test_every_row_of_the_packages_sweeps_is_a_valid_run(self, name):
        spec = sweep.load(name)
        rows = sweep.variants(spec)
        assert sweep.published(spec) or spec.published is None
        for row in rows:
            assert run_config.load(row.recipe, row.overrides)[0].train.batch > 0

    @pytest.mark.parametrize("data", ["voc_lt", "coco_lt", "digits_scenes"])
    def test_the_ablation_is_that_of_the_paper(self, data):
        one, other, both, consistent, compensated, flipped = sweep.variants(sweep.load(f"{data}/ablation"))
        methods = [
            run_config.load(row.recipe, row.overrides)[0].method for row in (one, other, both, consistent, compensated)
        ]
        settings = [(m.branches, m.consistency, m.compensation) for m in methods]
        assert [(branches, compensation) for branches, _, compensation in settings[:2]] == [
            ("uniform", "none"),
            ("rebalanced", "none"),
        ]
        assert settings[2:] == [("both", 0.0, "none"), ("both", 0.1, "none"), ("both", 0.1, "each")]
        assert flipped.flip and flipped.runs_of == compensated.label

    def test_published_results_stand_for_every_row_and_two_that_are_not_trained(self):
        for data in ("voc_lt", "coco_lt"):
            comparison = sweep.load(f"{data}/comparison")
            figures = sweep.published(comparison)
            assert comparison.published_only == ("ML-GCN", "OLTR")
            assert all(row.label in figures for row in sweep.variants(comparison))
            assert all(list(values) == ["mAP", "head", "medium", "tail"] for values in figures.values())
        assert figures["+ flip test"] == {"mAP": 57.28, "head": 54.54, "medium": 61.1, "tail": 54.64}

    def test_sweeps_and_figures_are_no_recipes(self):
        assert not [name for name in resources.list_recipes() if "." in name]
        with pytest.raises(UserError, match="no recipe"):
            resources.recipe("voc_lt/ablation")
        with pytest.raises(UserError, match=r"no sweep voc_lt/ablatoin: .*did you mean voc_lt/ablation\?"):
            resources.sweep("voc_lt/ablatoin")

    def test_a_grid_is_a_row_for_each_combination(self, tmp_path):
        rows = variants(tmp_path, "  - {label: g, grid: {optimizer.lr: [0.1, 0.2], seed: [1, 2]}}")
        assert [row.label for row in rows] == [f"g, lr={lr}, seed={seed}" for lr in (0.1, 0.2) for seed in (1, 2)]
        assert rows[3].overrides == ["train.batch=8", "optimizer.lr=0.2", "seed=2"]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("  - {set: {seed: 1}}", "a row needs a label"),
            ("  - {label: a, st: {}}", "rows.0.st"),
            ("  - {label: a}\n  - {label: a}", "rows a and a would share the folder a"),
            ("  - {label: a}\n  - {label: + a}", r"rows a and \+ a would share"),
            ("  - {label: a, runs_of: b}", "runs_of b is no row before it"),
            ("  - {label: a}\n  - {label: b, runs_of: a, set: {seed: 1}}", "runs_of trains nothing"),
            ("  - {label: a}\n  - {label: b, runs_of: a, seeds: [1]}", "runs_of trains nothing"),
            ("  - {label: a, with_runs: {method.teacher: b}}", "row a: method.teacher b is no row before it"),
            (
                "  - {label: a}\n  - {label: b, with_runs: {method.teacher: a}, seeds: [0, 7]}",
                "row b: a has no run of seed 7",
            ),
            ("  - {label: a}\n  - {label: b, runs_of: a, seeds: [1]}", "runs_of trains nothing"),
            ("  - {label: a, with_runs: {method.teacher: b}}", "row a: method.teacher b is no row before it"),
            (
                "  - {label: a}\n  - {label: b, with_runs: {method.teacher: a}, seeds: [0, 7]}",
                "row b: a has no run of seed 7",
            ),
            ("  - {label: a, flip: true}", "flip evaluates the runs_of another row"),
            ("  - [", "no valid YAML"),
        ],
    )
    def test_what_is_wrong_is_named_in_one_line(self, tmp_path, rows, message):
        with pytest.raises(UserError, match=message) as error:
            variants(tmp_path, rows)
        assert "\n" not in str(error.value)


class TestRunning:
    @pytest.fixture(scope="class")
    def spec(self, tmp_path_factory):
        text = f"""
recipe: digits_scenes/collaborative
seeds: [0, 1]
set: {SMALL}
rows:
  - label: both
  - label: broken
    set: {{optimizer.lr: -1}}
  - label: both, flipped
    runs_of: both
    flip: true
"""
        return written(tmp_path_factory.mktemp("spec"), text)

    @pytest.fixture(scope="class")
    def done(self, spec, scenes, tmp_path_factory):
        out = tmp_path_factory.mktemp("sweep") / "out"
        return out, self.run(spec, out, scenes)

    def run(self, spec, out, scenes, *overrides):
        from fastlt.commands.sweep import run_sweep

        shown = Console(file=io.StringIO())
        with pytest.raises(UserError) as error:
            run_sweep(spec, out, [f"data.path={scenes}", *overrides], "cpu", shown)
        return str(error.value)

    def test_a_row_that_fails_is_named_and_the_others_go_on(self, done):
        out, message = done
        assert "2 of 6 runs failed: broken, seed 0: " in message and "optimizer.lr = -1" in message
        assert "Traceback" in (out / "broken" / "seed-0.error.txt").read_text()
        table = json.loads((out / "table.json").read_text())
        assert [len(row["runs"]) for row in table["rows"]] == [2, 0, 2]
        assert list(table["failed"]) == ["broken, seed 0", "broken, seed 1"]

    def test_rows_hold_mean_and_deviation_over_seeds_of_the_whole_and_of_each_branch(self, done):
        out, _ = done
        both = json.loads((out / "table.json").read_text())["rows"][0]
        summaries = [json.loads((out / "both" / f"seed-{seed}" / "summary.json").read_text()) for seed in (0, 1)]
        for name in ("mAP", "tail"):
            values = [summary["metrics"][name] for summary in summaries]
            assert (both["mean"][name], both["std"][name]) == (mean(values), stdev(values))
            values = [summary["parts"]["uniform"][name] for summary in summaries]
            assert both["parts"]["uniform"]["mean"][name] == mean(values)
        assert summaries[0]["metrics"] != summaries[1]["metrics"]

    def test_flipped_evaluation_trains_nothing_and_gives_other_results(self, done):
        out, _ = done
        both, _, flipped = json.loads((out / "table.json").read_text())["rows"]
        assert [run["folder"] for run in flipped["runs"]] == [run["folder"] for run in both["runs"]]
        assert flipped["mean"]["mAP"] != both["mean"]["mAP"]

    def test_the_same_command_again_trains_nothing(self, spec, done, scenes):
        out, _ = done
        before = {path: path.stat().st_mtime_ns for path in out.rglob("last.pt")}
        table = (out / "table.json").read_text()
        self.run(spec, out, scenes)
        assert before and before == {path: path.stat().st_mtime_ns for path in out.rglob("last.pt")}
        assert (out / "table.json").read_text() == table

    def test_curves_and_a_table_in_markdown_are_written(self, done):
        out, _ = done
        assert (out / "curves.png").stat().st_size > 10_000
        lines = (out / "table.md").read_text().splitlines()
        assert (
            lines[0].startswith("|  | mAP | head |") and "±" in lines[2] and lines[3].startswith("|     uniform alone")
        )

    def test_a_run_with_other_settings_is_not_taken_for_this_one(self, spec, done, scenes, tmp_path):
        copy = shutil.copytree(done[0], tmp_path / "copy")
        message = self.run(spec, copy, scenes, "optimizer.weight_decay=0.3")
        assert "holds a run with other settings (optimizer.weight_decay: 0.0005 -> 0.3)" in message

    def test_what_a_row_sets_counts_more_than_what_is_set_for_all(self, spec):
        rows = sweep.variants(sweep.load(spec), ["train.steps=1", "optimizer.lr=0.3"])
        assert [run_config.load(row.recipe, row.overrides)[0].train.steps for row in (rows[0], rows[2])] == [1, 1]
        assert rows[1].overrides[-1] == "optimizer.lr=-1"


class TestRowsThatNeedOthers:
    TEACHER_AND_STUDENT = f"""
recipe: digits/bsce
seeds: [0, 1]
set: {SMALL}
rows:
  - label: teacher
  - label: student
    recipe: digits/dive
    with_runs: {{method.teacher: teacher}}
    seeds: [1]
"""
    PRIOR = f"""
recipe: digits_scenes/csl
set: {SMALL}
rows:
  - label: ignore
    set: {{method.mode: ignore}}
  - label: selective
    set: {{method.mode: selective}}
    with_runs: {{method.prior: ignore}}
"""

    def run(self, spec, out, data, only=()):
        from fastlt.commands.sweep import run_sweep

        return run_sweep(spec, out, [f"data.path={data}"], "cpu", Console(file=io.StringIO()), only)

    def test_a_row_is_given_the_run_of_its_own_seed_and_may_have_fewer_seeds(self, digits, tmp_path):
        spec, out = written(tmp_path, self.TEACHER_AND_STUDENT), tmp_path / "out"
        with pytest.raises(UserError, match="has no row nobody; it has teacher, student"):
            self.run(spec, out, digits, ("nobody",))
        with pytest.raises(UserError, match=f"no finished run {out / 'teacher' / 'seed-1'}"):
            self.run(spec, out, digits, ("student",))
        table = self.run(spec, out, digits, ("teacher",))
        assert [[run["seed"] for run in row["runs"]] for row in table["rows"]] == [[0, 1], []]
        table = self.run(spec, out, digits)
        assert [[run["seed"] for run in row["runs"]] for row in table["rows"]] == [[0, 1], [1]]
        student, _ = run_config.load(str(out / "student" / "seed-1" / "config.yaml"))
        assert student.method.teacher == out / "teacher" / "seed-1"

    def test_the_prior_of_a_run_is_estimated_when_a_row_asks_for_it(self, scenes, tmp_path):
        out = tmp_path / "out"
        table = self.run(written(tmp_path, self.PRIOR), out, scenes)
        assert not table["failed"] and (out / "ignore" / "seed-0" / "prior.json").exists()


def test_published_results_stand_beside_the_rows_and_below_them():
    rows = [{"label": "a", "runs": [{"seed": 0, "folder": "x", "metrics": {"mAP": 0.5, "tail": 0.25}, "parts": {}}]}]
    figures = {"a": {"mAP": 70.86, "tail": 65.31}, "b": {"mAP": 1.0, "tail": 2.0}, "c": {"mAP": 3.0}}
    text = sweep_table.markdown(sweep_table.summarise("made", rows, figures, ("b",)))
    assert text.splitlines()[0] == "|  | mAP | tail | published mAP/tail |"
    assert text.splitlines()[2:] == ["| a | 50.00 | 25.00 | 70.86/65.31 |", "| b |  |  | 1.00/2.00 |"]
