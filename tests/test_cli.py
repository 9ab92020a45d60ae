"""The commands as a user meets them: output, exit status, one line for each mistake, and no long wait for an answer."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

HEAVY = ("torch", "nvidia.dali", "timm", "torchmetrics", "sklearn", "matplotlib", "tensorboard")
SHORT = ["train.steps=6", "train.batch=16", "pipeline.size=16", "train.precision=fp32", "data.threads=1"]


def fastlt(*arguments, cwd=None, **more):
    command = [sys.executable, "-m", "fastlt", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=200, **more)


def test_a_warning_of_ours_is_one_line():
    program = (
        "import warnings; from fastlt import cli; from fastlt.errors import UserNotice\n"
        "cli.commands.main = lambda *_, **__: warnings.warn('ours', UserNotice) or warnings.warn('theirs')\n"
        "cli.main([])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    first, *others = done.stderr.splitlines()
    assert first == "warning: ours" and "UserWarning: theirs" in others[0]


def settings(*values):
    return [part for value in values for part in ("--set", value)]


def assert_one_line(done, message, status=1):
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 or status == 2


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A short run of the command line."""
    out = tmp_path_factory.mktemp("cli") / "run"
    done = fastlt("train", "digits/erm", "--out", out, *settings(f"data.path={digits}", *SHORT))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_training_prints_plain_lines_and_leaves_a_whole_run_folder(trained):
    out, text = trained
    assert "precision fp32" in text and "step 6/6" in text and "\x1b[" not in text
    summary = json.loads((out / "summary.json").read_text())
    names = {"dataset", "method", "images_per_second", "data_wait_fraction", "device", "precision", "metrics"}
    assert names <= set(summary)
    assert 0 <= summary["metrics"]["top1"] <= 1 and len(summary["per_class"]) == 10
    assert "data:image/png;base64" in (out / "report.html").read_text()
    present = {path.name for path in out.iterdir()}
    assert present == {
        *("config.yaml", "environment.json", "metrics.jsonl", "tensorboard", "checkpoints", "summary.json"),
        "report.html",
    }


def test_tensorboard_events_hold_the_metrics(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained[0] / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/lr", "train/images_per_second", "val/top1"} <= set(events.Tags()["scalars"])


def test_eval_measures_a_split_and_writes_json(trained, tmp_path):
    done = fastlt("eval", trained[0], "--split", "val", "--json", tmp_path / "val.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "val.json").read_text())
    assert (found["split"], found["images"]) == ("val", 45) and "top1" in found and "top1" in done.stdout


def test_predict_writes_a_row_a_picture_and_names_what_it_leaves_out(trained, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(np.full((40, 30 + number, 3), 90 * number, np.uint8)).save(photos / f"{number}.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    done = fastlt("predict", trained[0], photos, "--out", tmp_path / "labels.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert [row["file"] for row in rows] == [str(photos / f"{number}.png") for number in range(3)]
    for row in rows:
        chances = [float(row[str(digit)]) for digit in range(10)]
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert row["labels"] == str(int(np.argmax(chances)))
    assert "broken.jpg" in done.stdout and "1 left out" in done.stdout


def test_inspect_shows_counts_streams_and_draws(digits, tmp_path):
    done = fastlt("inspect", digits, "--plot", tmp_path / "tail.png", "--json", tmp_path / "data.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "data.json").read_text())
    assert found["streams"]["class_balanced"] == pytest.approx([0.1] * 10)
    assert found["streams"]["uniform"] == pytest.approx(np.array(found["counts"]["train"]) / found["images"]["train"])
    assert "imbalance" in done.stdout
    assert Image.open(tmp_path / "tail.png").size[0] > 500


def test_verify_finds_a_changed_byte(digits, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(digits, copy)
    assert "all as written" in fastlt("verify", copy).stdout
    shard = copy / "train" / "shard-00000.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    done = fastlt("verify", copy)
    assert "shard-00000.h5" in done.stdout
    assert_one_line(done, "build the data set again")


def test_a_build_lists_unreadable_pictures_and_goes_on(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20, 20), (number * 50, 0, 0)).save(tmp_path / "photos" / name / f"{number}.jpg")
    (tmp_path / "photos" / "cat" / "torn.jpg").write_bytes(b"torn")
    out = tmp_path / "data"
    done = fastlt("build", "folder", "--root", tmp_path / "photos", "--out", out, "--val", 0, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "1 images could not be read" in done.stdout and "8 images" in done.stdout
    assert "cat/torn.jpg" in (out / "bad-images.txt").read_text()


MISTAKES = {
    "missing data": (["--set", "data.path=nowhere"], "nowhere"),
    "unknown key": (["--set", "train.bacth=3"], "did you mean train.batch?"),
    "batch too large": (["--set", "train.batch=4096"], "larger than the data"),
    "unknown backbone": (["--set", "model.backbone=resnet5000"], "resnet5000"),
    "missing weights": (["--set", "model.init=weights.pth"], "weights.pth"),
    "unknown method": (["--set", "method.name=erl"], "did you mean erm?"),
    "wrong loss": (["--set", "method.loss=hinge"], "method.loss"),
    "sequential training": (["--set", "method.stream.sampling=sequential"], "sequential is for evaluation"),
    "two policies": (
        ["--set", "pipeline.rand_augment={}", "--set", "pipeline.auto_augment=svhn"],
        "exclude each other",
    ),
    "no such device": (["--device", "cuda"], "--device cpu"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(digits, tmp_path, mistake):
    arguments, message = MISTAKES[mistake]
    out = tmp_path / "run"
    done = fastlt("train", "digits/erm", "--out", out, *settings(f"data.path={digits}", *SHORT), *arguments)
    assert_one_line(done, message)
    assert not out.exists()


def test_other_mistakes_end_in_one_line(digits, trained, tmp_path):
    assert_one_line(fastlt("train", "digits/em", "--out", tmp_path / "x"), "did you mean digits/erm?")
    assert_one_line(fastlt("eval", tmp_path), "no checkpoint")
    assert_one_line(fastlt("inspect", tmp_path), "holds no data set")
    assert_one_line(fastlt("build", "folder", "--root", tmp_path / "no", "--out", tmp_path / "y"), "does not exist")
    assert_one_line(fastlt("build", "cifar", "--out", tmp_path / "y"), "did you mean cifar10?")
    assert_one_line(fastlt("predict", trained[0], tmp_path / "no.jpg", "--out", tmp_path / "z"), "does not exist")
    again = fastlt("train", "digits/erm", "--out", trained[0], *settings(f"data.path={digits}", *SHORT))
    assert_one_line(again, "holds a run already")
    assert_one_line(fastlt("eval", trained[0], "--checkpoint", "nothing"), "nothing", status=2)
    for wrong in ("optimizer.name=adam", "train.ema=0.9", "train.batch=8", "seed=2"):
        done = fastlt("train", "--resume", "--out", trained[0], "--set", wrong)
        assert_one_line(done, "a run that goes on keeps its settings")
    assert_one_line(fastlt("train", "--resume", "--out", tmp_path / "x"), "no checkpoint to go on from")
    wrong_builds = {
        "imbalance 0 must be": ["--imbalance", "0"],
        "leave --imbalance out": ["--recipe", "none", "--imbalance", "5"],
        "needs --imbalance": ["--recipe", "step"],
        "whole number as seed": ["--option", "seed=abc"],
        "no YAML value": ["--option", "form={"],
        "shard_mb is inf": ["--shard-mb", "inf"],
    }
    for message, arguments in wrong_builds.items():
        assert_one_line(fastlt("build", "digits", "--out", tmp_path / "y", *arguments), message)
    assert_one_line(fastlt("train", "--out", tmp_path / "x"), "give RECIPE and --out", status=2)
    assert_one_line(fastlt("trian"), "No such command 'trian'", status=2)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_training_ends_in_one_line(digits, tmp_path):
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); \
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); from fastlt.cli import main; main()"
    arguments = ["train", "digits/erm", "--out", tmp_path / "run", *settings(f"data.path={digits}", *SHORT)]
    command = [sys.executable, "-c", limited, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert_one_line(done, "cannot write")
    assert not [path for path in (tmp_path / "run").rglob("*") if "partial" in path.name]


def test_resuming_a_finished_run_keeps_its_figures(trained):
    before = json.loads((trained[0] / "summary.json").read_text())
    done = fastlt("train", "--resume", "--out", trained[0], "--set", "data.threads=2")
    assert done.returncode == 0 and "data.threads: 1 -> 2" in done.stdout, done.stderr
    after = json.loads((trained[0] / "summary.json").read_text())
    assert after["images_per_second"] == before["images_per_second"] > 0
    assert after["metrics"] == before["metrics"]


def test_debug_shows_the_trace(tmp_path):
    assert "Traceback" in fastlt("--debug", "inspect", tmp_path).stderr


LIGHT_MISTAKES = (
    ["train", "digits/erm", "--out", "x", "--set", "train.bacth=3"],
    ["train", "digits/erm", "--out", "x", "--set", "data.path=nowhere"],
    ["eval", "nowhere"],
    ["predict", "nowhere", "x.jpg", "--out", "x.csv"],
)
QUICK = (
    *LIGHT_MISTAKES,
    ["--help"],
    ["train", "--help"],
    ["inspect", "DATA"],
    ["train", "--nonsense"],
    ["train", "--list"],
)


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_light_commands_import_nothing_heavy(digits, arguments):
    arguments = [str(digits) if part == "DATA" else part for part in arguments]
    look = (
        f"import sys\nfrom fastlt.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("method", ["hybrid_sc", "hybrid_psc", "crt", "tau_norm"])
def test_a_methods_options_are_read_without_timm(method):
    look = f"import sys; from fastlt import methods; methods.options({method!r}); print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stdout + done.stderr


def test_every_command_has_help_with_an_example():
    from click.testing import CliRunner

    from fastlt.cli import commands

    for name in commands.commands:
        text = CliRunner().invoke(commands, [name, "--help"]).output
        assert f"Example: fastlt {name}" in text.replace("\n", " ").replace("  ", " "), name


def test_the_demo_runs_whole_and_again(tmp_path):
    for _ in range(2):
        done = fastlt("demo", "--out", tmp_path / "demo", "--steps", 3)
        assert done.returncode == 0, done.stderr
    assert "trained already" in done.stdout
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert len(summary["runs"]) == 4 and "mAP" in summary["runs"]["scenes, uniform"]["metrics"]
    assert "top1" in summary["metrics"]
    branches = summary["runs"]["scenes, two branches"]["parts"]
    assert list(branches) == ["uniform", "rebalanced"] and "scenes, two branches, rebalanced alone" in done.stdout
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000


def test_ctrl_c_while_the_command_line_is_loaded_says_so_in_one_line(tmp_path):
    broken_off = "class Finder:\n def find_spec(self, name, *_):\n  if name == 'click': raise KeyboardInterrupt\n"
    program = f"import sys\n{broken_off}sys.meta_path.insert(0, Finder())\nfrom fastlt.__main__ import main; main()"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (130, "stopped\n")
