"""DiVE: its loss, its teacher, and runs that go on."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastlt import config as run_config
from fastlt.errors import UserError
from fastlt.methods import dive
from fastlt.methods.erm import ERM
from fastlt.methods.erm import Options as ERMOptions
from fastlt.train import checkpoint
from fastlt.train.display import Display
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.methods.made_networks import COUNTS, DATA, SmallNetwork, at, batch_of
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    assert_two_ranks_train_as_one,
    begin,
    config_of,
    finished,
    run,
    trained_without_waiting,
    weights,
)

CONFIG = run_config.load("digits/dive")[0]


def earlier_runs(folder, teacher=None, data=DATA, config=CONFIG, own=CONFIG):
    """Opens one run whatever is asked for."""
    path = folder / "teacher.pt"
    path.write_bytes(b"weights")
    method = ERM(ERMOptions(loss="balanced_softmax"), teacher or SmallNetwork(seed=1), DATA)
    return OneRun(SimpleNamespace(method=method, config=config, data=data, checkpoint=path), own)


class OneRun:
    def __init__(self, found, config):
        self.found, self.config = found, config

    def __call__(self, folder):
        return self.found


def student(folder, teacher=None, network=None, **options):
    method = dive.DiVE(dive.Options(teacher=folder, **options), network or SmallNetwork(), DATA)
    method.attach(earlier_runs(folder, teacher))
    return method


def loss_of(method, batch=None):
    return method(batch or batch_of(), at(0))["loss"]


@pytest.mark.parametrize("student_temperature", [None, 7.0])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_loss_is_the_papers(tmp_path, power, student_temperature):
    """(1 - a) BSCE + a T^2 KL(teacher || student), raw logits on both sides, power norm of the teacher alone."""
    teacher = SmallNetwork(seed=1)
    method = student(tmp_path, teacher, temperature=3, power=power, alpha=0.3, student_temperature=student_temperature)
    batch = batch_of()
    images, labels = batch.images["main"], batch.labels["main"]
    with torch.no_grad():
        taught = teacher.eval()(images).double()
    x = method.model(images).double()
    soft = (taught / 3).softmax(1) ** power
    soft = soft / soft.sum(1, keepdim=True)
    own = student_temperature or 3.0
    divergence = (soft * (soft.log() - (x / own).log_softmax(1))).sum(1).mean()
    balanced = nn.functional.cross_entropy(x + torch.tensor(COUNTS).log(), labels)
    expected = 0.7 * balanced + 0.3 * own**2 * divergence
    torch.testing.assert_close(loss_of(method, batch).double(), expected, rtol=1e-5, atol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(tmp_path):
    teacher, network = SmallNetwork(seed=1), SmallNetwork()
    network.load_state_dict(teacher.state_dict())
    method = student(tmp_path, teacher, network, power=1, alpha=1).eval()
    assert loss_of(method).abs() < 1e-5


def test_without_distillation_it_is_balanced_softmax(tmp_path):
    network = SmallNetwork()
    plain = ERM(ERMOptions(loss="balanced_softmax"), network, DATA)
    torch.testing.assert_close(loss_of(student(tmp_path, network=network, alpha=0)), loss_of(plain))


def test_the_teacher_stays_as_it_is_and_is_no_part_of_the_student(tmp_path):
    teacher = SmallNetwork(seed=1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    method = student(tmp_path, teacher)
    method.train()
    loss_of(method).backward()
    assert not teacher.training and all(
        torch.equal(value, before[name]) for name, value in teacher.state_dict().items()
    )
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.parameters())
    own = {f"model.{name}" for name in SmallNetwork().state_dict()}
    assert set(method.state_dict()) == own | {"teacher_digest"}
    assert {name for name, _ in method.named_parameters()} <= own


class TestWrongTeachers:
    def attach(self, folder, **opened):
        method = dive.DiVE(dive.Options(teacher=folder), SmallNetwork(), DATA)
        method.attach(earlier_runs(folder, **opened))

    def test_none_is_answered_with_how_to_train_one(self, tmp_path):
        method = dive.DiVE(dive.Options(), SmallNetwork(), DATA)
        with pytest.raises(UserError, match=r"method.teacher is missing; train one with `fastlt train digits/bsce"):
            method.attach(earlier_runs(tmp_path))

    def test_of_another_subset_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="trained on other training images than this run"):
            self.attach(tmp_path, data=dataclasses.replace(DATA, fingerprint="1"))

    def test_of_other_classes_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="3 classes that are not the 3 of this run"):
            self.attach(tmp_path, data=dataclasses.replace(DATA, classes=["a", "b", "d"]))

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("model.backbone=cifar_resnet32", "model.backbone: cifar_resnet32 -> cifar_resnet20"),
            ("model.classifier=cosine", "model.classifier: cosine -> linear"),
            ("pipeline.mean=[0, 0, 0]", "pipeline.mean: .* -> "),
            ("pipeline.auto_augment=cifar10", "pipeline.auto_augment: cifar10 -> -"),
        ],
    )
    def test_of_another_network_or_other_pictures_is_refused(self, tmp_path, override, line):
        with pytest.raises(UserError, match=rf"trained with other settings than this run \({line}"):
            self.attach(tmp_path, config=run_config.load("digits/bsce", [override])[0])

    def test_several_labels_an_image_are_refused(self):
        with pytest.raises(UserError, match="method dive needs one label an image"):
            dive.DiVE(dive.Options(), SmallNetwork(), dataclasses.replace(DATA, multi_label=True))


@pytest.fixture(scope="module")
def teachers(digits, tmp_path_factory):
    """Two short runs of balanced softmax."""
    root = tmp_path_factory.mktemp("teachers")
    runs = [
        finished(root / str(seed), config_of(digits, "train.steps=3", f"seed={seed}", recipe="digits/bsce"))
        for seed in (0, 1)
    ]
    return [folder.path for folder in runs]


def dive_config(digits, teacher, *more):
    overrides = ("train.steps=5", "train.ema=0.9", "train.accumulate=2", f"method.teacher={teacher}", *more)
    return config_of(digits, *overrides, recipe="digits/dive")


def stopped(path, config, step):
    with Trainer.open(config, begin(path, config), ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=step)
        trainer.save()


def test_a_run_stopped_anywhere_ends_with_the_same_bits_and_takes_no_other_teacher(digits, teachers, tmp_path):
    config = dive_config(digits, teachers[0])
    whole, _ = run(tmp_path / "whole", config)
    stopped(tmp_path / "run", config, 2)
    with pytest.raises(UserError, match="is not the teacher that this run began with") as error:
        run(tmp_path / "run", dive_config(digits, teachers[1]), resume=True)
    assert "\n" not in str(error.value)
    assert_equal_runs(run(tmp_path / "run", config, resume=True)[0], whole)


@pytest.mark.slow
def test_each_term_changes_the_trained_weights(digits, teachers, tmp_path):
    both, balanced, distilled = (
        weights(run(tmp_path / alpha, dive_config(digits, teachers[0], "train.steps=2", f"method.alpha={alpha}"))[0])
        for alpha in ("0.5", "0", "1")
    )
    assert not torch.equal(both["model.fc.weight"], balanced["model.fc.weight"])
    assert not torch.equal(both["model.fc.weight"], distilled["model.fc.weight"])


def test_an_unfinished_run_is_no_teacher(digits, tmp_path):
    config = config_of(digits, "train.steps=2", recipe="digits/bsce")
    stopped(tmp_path / "teacher", config, 1)
    with pytest.raises(UserError, match=r"teacher is not finished; go on with fastlt train --resume --out"):
        run(tmp_path / "run", dive_config(digits, tmp_path / "teacher"))
    assert not (tmp_path / "run").exists()


def test_two_ranks_train_as_one(digits, teachers, tmp_path):
    """Each rank opens the teacher, shows it its own part of the batch, and the mean is over all."""
    settings = ("method.name=dive", f"method.teacher={teachers[0]}", "model.sync_batch_norm=true")
    assert_two_ranks_train_as_one(tmp_path, digits, *settings)


def test_nothing_in_a_step_waits_for_the_device(digits, teachers, tmp_path):
    config = dive_config(digits, teachers[0])
    trained_without_waiting(config, tmp_path / "run")


def test_a_trained_student_is_evaluated_without_its_teacher(digits, teachers, tmp_path):
    folder, _ = run(tmp_path / "run", dive_config(digits, teachers[0], "train.steps=2"))
    state = checkpoint.load(folder.last)["model"]
    assert not [name for name in state if "_teacher" in name]
    assert Trained.load(folder, ALONE).measure("test")["images"] == 450
