"""The training loop: resumes exactly, never waits for the device in a step, and is the same on several ranks."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from corrupted import REFUSED_LATER, corrupted
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode

from fastlt import config as run_config
from fastlt.commands.training import train_config
from fastlt.data.shards import ShardSet
from fastlt.distributed import Ranks
from fastlt.errors import UserError
from fastlt.train import checkpoint
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer, train

ALONE = Ranks(0, 1, torch.device("cpu"))
SMALL = [
    "train.batch=16",
    "train.log_every=3",
    "train.checkpoint_every=4",
    "train.precision=fp32",
    "pipeline.size=16",
    "pipeline.pad=2",
    "data.threads=1",
]


CLOCK = ("images_per_second", "data_wait_fraction", "seconds_left")


def config_of(data, *overrides, recipe="digits/erm"):
    return run_config.load(recipe, [f"data.path={data}", *SMALL, *overrides])[0]


def begin(path, config):
    folder = RunFolder(path)
    folder.create(config, [])
    return folder


def run(path, config, resume=False):
    folder = RunFolder(path)
    summary = train(config, folder, ALONE, resume, Display(quiet=True), changes=[])
    return folder, summary


def finished(path, config):
    """A run with its summary, as the command leaves it."""
    train_config(config, [], RunFolder(path), False, "cpu", Console(quiet=True))
    return RunFolder(path)


def weights(folder):
    return checkpoint.load(folder.last)["model"]


def rows(folder):
    """metrics.jsonl without what depends on the clock."""
    found = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in found]


def assert_equal_runs(one, other):
    first, second = weights(one), weights(other)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert rows(one) == rows(other)


EVERYTHING = (
    "train.steps=10",
    "train.ema=0.9",
    "train.accumulate=2",
    "train.clip_norm=1.0",
    "model.drop_rate=0.3",
    "pipeline.cutout=4",
    "train.evaluate_every=0.2",
)


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """A run of ten steps in one go."""
    return run(tmp_path_factory.mktemp("whole") / "run", config_of(digits, *EVERYTHING))[0]


@pytest.mark.parametrize("stop", [1, 4, 5, 9])
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(digits, whole, tmp_path, stop):
    config = config_of(digits, *EVERYTHING)
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=stop)
        trainer.save()
    folder, summary = run(tmp_path / "run", config, resume=True)
    assert summary["steps"] == 10
    assert_equal_runs(folder, whole)


def test_metrics_are_what_they_were_whatever_came_after_the_checkpoint(digits, whole, tmp_path):
    """A process that is killed has logged steps that no checkpoint knows, and perhaps half a line."""
    config = config_of(digits, *EVERYTHING)
    with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=7)
    with trainer.folder.metrics.open("a") as file:
        file.write('{"step": 8, "los')
    folder, _ = run(tmp_path / "run", config, resume=True)
    assert_equal_runs(folder, whole)


def command(*arguments):
    return [sys.executable, "-m", "fastlt", *map(str, arguments)]


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1", **more}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_and_resume_ends_with_the_same_bits(digits, whole, tmp_path):
    settings = [part for o in (f"data.path={digits}", *SMALL, *EVERYTHING) for part in ("--set", o)]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = subprocess.Popen(command("train", "digits/erm", "--out", killed, *settings), env=environment())
    folder = RunFolder(killed)
    deadline = time.monotonic() + 120
    while not folder.metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed in the middle"
    for arguments in (["--resume", "--out", killed], ["digits/erm", "--out", straight, *settings]):
        subprocess.run(command("train", *arguments), env=environment(), check=True, capture_output=True)
    assert_equal_runs(RunFolder(killed), RunFolder(straight))


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(digits, tmp_path):
    out = tmp_path / "run"
    settings = [part for o in (*SMALL, "train.steps=100000") for part in ("--set", o)]
    arguments = command("train", "digits/erm", "--out", out, "--set", f"data.path={digits}", *settings)
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not RunFolder(out).metrics.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: fastlt train --resume --out {out}" in output
    assert "Traceback" not in errors
    stopped_at = int(output.split("stopped after step ")[1].split()[0])
    assert checkpoint.load(RunFolder(out).last)["step"] == stopped_at


class NoWaiting(TorchDispatchMode):
    """Raises on every operator that makes the host wait for the device."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        if name.startswith(self.WAITS):
            raise AssertionError(f"{name} waits for the device")
        out = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and isinstance(out, torch.Tensor):
            source = args[1] if name == "copy_" else args[0]
            assert out.device == source.device, f"{name} moves data between devices"
        return out


def trained_without_waiting(config, folder, steps=2):
    """The trainer's own steps; fails where one of them waits for the device."""
    with Trainer.open(config, begin(folder, config), ALONE, Display(quiet=True)) as trainer:
        trainer.method.train()
        batches = [next(trainer.loader) for _ in range(steps)]
        with NoWaiting():
            for batch in batches:
                trainer.train_step(batch)
                trainer.step += 1


@pytest.mark.parametrize("recipe", ["digits/erm", "digits_scenes/erm"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_nothing_in_a_step_waits_for_the_device(digits, scenes, tmp_path, recipe, optimizer):
    data = digits if recipe == "digits/erm" else scenes
    config = config_of(data, *EVERYTHING, f"optimizer.name={optimizer}", recipe=recipe)
    trained_without_waiting(config, tmp_path / "run")


def test_the_mode_that_looks_for_waiting_finds_it():
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        torch.ones(1).item()


def test_accumulated_parts_make_the_gradient_of_the_whole_batch(digits, tmp_path):
    """With batch norm frozen, so that the statistics of a part do not matter."""
    ends = []
    for parts in (1, 4):
        config = config_of(
            digits, "train.steps=2", f"train.accumulate={parts}", "model.frozen_batch_norm=true", "optimizer.lr=0.001"
        )
        ends.append(weights(run(tmp_path / f"parts{parts}", config)[0]))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=2e-6)


def test_class_balanced_training_beats_uniform_on_the_rarest_classes(digits, tmp_path):
    found = {}
    for sampling in ("uniform", "class_balanced"):
        config = config_of(digits, "train.steps=100", f"method.stream.sampling={sampling}", "schedule.warmup=0.5")
        folder, _ = run(tmp_path / sampling, config)
        found[sampling] = Trained.load(folder, ALONE, "last").measure("test")
    assert found["class_balanced"]["tail3"] > found["uniform"]["tail3"]
    assert found["uniform"]["top1"] > 0.3


def ranks_run(out, data, ranks, *overrides):
    """A run of the command under torchrun."""
    settings = [part for o in (f"data.path={data}", *SMALL, *overrides) for part in ("--set", o)]
    return ranks_command(ranks, "digits/erm", "--out", str(out), *settings)


def ranks_command(ranks, *arguments):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    train = [*launcher, "-m", "fastlt", "train", *arguments]
    return subprocess.run(train, env=environment(), capture_output=True, text=True, timeout=280)


def assert_two_ranks_train_as_one(path, data, *overrides):
    """To rounding: where that carries a value over the kink of a ReLU, an update moves by some thousandths."""
    settings = ("train.steps=1", "optimizer.lr=0.001", "schedule.warmup=0", *overrides)
    done = ranks_run(path / "two", data, 2, *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    folder, _ = run(path / "one", config_of(data, *settings))
    with Trainer.open(config_of(data, *settings), folder, ALONE, Display(quiet=True)) as trainer:
        start = trainer.method.state_dict()
    one, two = weights(folder), weights(RunFolder(path / "two"))
    for name, before in start.items():
        update = (one[name] - before).float().norm()
        assert (two[name] - one[name]).float().norm() <= 0.02 * update + 1e-7, name
    first, second = rows(folder)[0], rows(RunFolder(path / "two"))[0]
    assert first["terms"] == pytest.approx(second["terms"], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("norm", ["model.sync_batch_norm=true", "model.frozen_batch_norm=true"])
def test_two_ranks_train_as_one(digits, tmp_path, norm):
    assert_two_ranks_train_as_one(tmp_path, digits, norm)


def test_two_ranks_resume_exactly_and_count_each_test_image_once(digits, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    settings = ("schedule.name=constant", "schedule.warmup=0")  # so that the rates do not know how long the run will be
    assert ranks_run(straight, digits, 2, *settings, "train.steps=6").returncode == 0
    assert ranks_run(stopped, digits, 2, *settings, "train.steps=3").returncode == 0
    assert ranks_command(2, "--resume", "--out", str(stopped), "--set", "train.steps=6").returncode == 0
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["ranks"] == 2 and summary["metrics"]["images"] == 450
    alone = Trained.load(RunFolder(straight), ALONE).measure("test")
    assert alone["top1"] == pytest.approx(summary["metrics"]["top1"], abs=0.005)
    first, second = weights(RunFolder(straight)), weights(RunFolder(stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_that_ranks_do_not_divide_ends_in_one_line(digits, tmp_path):
    done = ranks_run(tmp_path / "run", digits, 2, "train.steps=2", "train.batch=15")
    assert done.returncode != 0
    assert "batch 15 is not divisible by 2 ranks" in done.stderr


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(digits, tmp_path):
    config = config_of(digits, "train.steps=60", "optimizer.lr=1e20", "schedule.warmup=0", "train.log_every=1")
    with pytest.raises(UserError, match="the loss is not finite at step .*lower optimizer.lr"):
        run(tmp_path / "run", config)


def test_a_checkpoint_of_another_model_or_data_set_is_refused(digits, scenes, whole, tmp_path):
    other_model = config_of(digits, *EVERYTHING, "model.backbone=cifar_resnet32")
    with pytest.raises(UserError, match=r"last\.pt.*model\.") as error:
        run(whole.path, other_model, resume=True)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="another data set"):
        run(whole.path, config_of(scenes, *EVERYTHING), resume=True)


def test_a_run_is_never_written_over(digits, whole):
    with pytest.raises(UserError, match="holds a run already; go on with fastlt train --resume"):
        begin(whole.path, config_of(digits))


def test_the_best_checkpoint_is_chosen_by_validation_and_evaluated_with_averaged_weights(digits, whole):
    state = checkpoint.load(whole.best)
    best = max((row for row in rows(whole) if row.get("split") == "val"), key=lambda row: (row["top1"], row["step"]))
    assert (state["step"], state["best"]["value"]) == (best["step"], best["top1"])
    trained = Trained.load(whole, ALONE)
    assert trained.checkpoint == whole.best
    measured = trained.measure("val")
    assert measured["top1"] == best["top1"]


def test_of_checkpoints_that_validate_equally_the_latest_is_the_best(digits, tmp_path, monkeypatch):
    from fastlt.train.trainer import Trainer

    measure = Trainer.measure
    monkeypatch.setattr(Trainer, "measure", lambda *given: measure(*given) | {"top1": 0.5})
    folder, _ = run(tmp_path / "run", config_of(digits, "train.epochs=1", "train.evaluate_every=0.5"))
    steps = [row["step"] for row in rows(folder) if row.get("split") == "val"]
    assert len(steps) == 2 and checkpoint.load(folder.best)["step"] == steps[-1]


@pytest.fixture(scope="module")
def damaged(digits, tmp_path_factory):
    """Digits some of whose training pictures are none, though every sum fits; and which of them."""
    broken = {3: b"", 40: b"no picture", 100: REFUSED_LATER["png with bad pixels"]}
    return corrupted(digits, tmp_path_factory.mktemp("damaged") / "digits", broken), sorted(broken)


def test_pictures_that_cannot_be_shown_are_replaced_counted_and_named_also_after_a_stop(damaged, tmp_path):
    data, broken = damaged
    config = config_of(data, "train.epochs=1.2")
    folder, summary = run(tmp_path / "whole", config)
    assert summary["bad_images"] == len(broken)
    assert [row["bad_images"] for row in rows(folder) if "terms" in row][-1] == len(broken)
    assert checkpoint.load(folder.last)["bad_images"] == broken
    named = dict(line.split("\t") for line in folder.bad_images.read_text().splitlines())
    with ShardSet(data / "train") as records:
        assert [*named] == records.ids(np.array(broken))
    assert named.popitem()[1] == "it does not decode"

    stopped = begin(tmp_path / "stopped", config)
    with Trainer.open(config, stopped, ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=20)
    run(stopped.path, config, resume=True)
    assert_equal_runs(folder, stopped)
    assert stopped.bad_images.read_text() == folder.bad_images.read_text()


def test_too_many_pictures_that_cannot_be_shown_end_the_run(damaged, tmp_path):
    data, broken = damaged
    with pytest.raises(UserError, match=r"3 pictures cannot be shown, more than data\.max_bad_images = 2") as error:
        run(tmp_path / "run", config_of(data, "train.epochs=1.2", "data.max_bad_images=2"))
    assert "\n" not in str(error.value) and ".png (" in str(error.value)
    with ShardSet(data / "train") as records:
        named = RunFolder(tmp_path / "run").bad_images.read_text().splitlines()
        assert [line.split("\t")[0] for line in named] == records.ids(np.array(broken))
