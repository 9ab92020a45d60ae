"""The two-stage classics: classifier re-training and tau-normalisation."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastlt import config as run_config
from fastlt.errors import UserError
from fastlt.methods import crt, tau_norm
from fastlt.methods.erm import ERM
from fastlt.methods.erm import Options as ERMOptions
from fastlt.train import checkpoint
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import Trainer
from tests.methods.made_networks import DATA, SmallNetwork, at, batch_of
from tests.train.test_trainer import (
    ALONE,
    assert_equal_runs,
    begin,
    config_of,
    ranks_run,
    rows,
    run,
    trained_without_waiting,
    weights,
)


def crt_method(**options):
    return crt.ClassifierRetraining(crt.Options(first_share=0.5, **options), SmallNetwork(), DATA)


def with_gradient(method):
    return {name for name, parameter in method.named_parameters() if parameter.grad is not None}


class TestClassifierRetraining:
    def test_everything_but_the_second_classifier_learns_in_the_first_stage_and_it_alone_in_the_second(self):
        second = {"classifier.weight", "classifier.bias"}
        for step, learning in ((4, {f"model.{n}" for n, _ in SmallNetwork().named_parameters()}), (5, second)):
            method = crt_method()
            method(batch_of(), at(step))["loss"].backward()
            assert with_gradient(method) == learning

    def test_features_of_the_second_stage_are_those_of_evaluation_and_stay_as_they_are(self):
        method = crt_method().train()
        method(batch_of(), at(0))
        before = {name: value.clone() for name, value in method.model.state_dict().items()}
        batch = batch_of(seed=1)
        loss = method(batch, at(5))["loss"]
        assert all(torch.equal(value, before[name]) for name, value in method.model.state_dict().items())
        features = method.model.eval().forward_features(batch.images["main"]).mean((2, 3))
        expected = nn.functional.cross_entropy(method.classifier(features), batch.labels["main"])
        torch.testing.assert_close(loss, expected)

    def test_the_new_classifier_predicts_once_it_has_begun_to_learn(self):
        method = crt_method()
        images = batch_of().images["main"]
        method(batch_of(), at(4))
        method.eval()
        torch.testing.assert_close(method.predict(images), method.model(images))
        method.train()(batch_of(), at(5))
        method.eval()
        features = method.model.forward_head(method.model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(method.predict(images), method.classifier(features))

    def test_the_classifier_begins_with_weights_of_its_own(self):
        method = crt_method()
        assert not torch.equal(method.classifier.weight, method.model.fc.weight)

    def test_the_second_stage_draws_classes_equally_often(self):
        (spec,) = crt_method().streams.values()
        assert (spec.stream.sampling, spec.then.sampling) == ("uniform", "class_balanced")

    def opener(self, network, data=DATA):
        found = SimpleNamespace(
            method=ERM(ERMOptions(), network, data), data=data, config=run_config.load("digits/erm")[0]
        )
        opened = lambda folder: found  # noqa: E731
        opened.config = found.config
        return opened

    def test_the_first_stage_may_be_another_run_and_the_second_then_begins_at_once(self, tmp_path):
        earlier, method = SmallNetwork(seed=1), crt_method(first_stage=tmp_path)
        classifier = method.model.fc.weight.clone()
        method.start_from(self.opener(earlier))
        own, given = method.model.state_dict(), earlier.state_dict()
        assert all(torch.equal(own[name], given[name]) for name in own if not name.startswith("fc."))
        assert torch.equal(method.model.fc.weight, classifier)
        assert method.second_stage is None and method.streams["main"].stream.sampling == "class_balanced"
        method(batch_of(), at(0))["loss"].backward()
        assert with_gradient(method) == {"classifier.weight", "classifier.bias"}

    def test_a_first_stage_of_other_classes_or_another_network_is_refused(self, tmp_path):
        method = crt_method(first_stage=tmp_path)
        other = dataclasses.replace(DATA, classes=["a", "b", "x"])
        with pytest.raises(UserError, match="3 classes that are not the 3 of this run"):
            method.start_from(self.opener(SmallNetwork(), other))
        wider = SmallNetwork()
        wider.conv = nn.Conv2d(3, 5, 1)
        with pytest.raises(UserError, match="another network than this run's cifar_resnet20"):
            method.start_from(self.opener(wider))

    CONFIG = ("train.steps=6", "method.first_share=0.5", "train.ema=0.9", "schedule.warmup=0")

    @pytest.fixture(scope="class")
    def whole(self, digits, tmp_path_factory):
        config = config_of(digits, *self.CONFIG, "train.log_every=1", recipe="digits/crt")
        return run(tmp_path_factory.mktemp("crt") / "run", config)[0]

    @pytest.mark.parametrize("stop", [2, 3, 4])
    def test_a_run_stopped_before_at_and_after_the_border_ends_with_the_same_bits(self, digits, whole, tmp_path, stop):
        config = config_of(digits, *self.CONFIG, "train.log_every=1", recipe="digits/crt")
        with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
            trainer.run(until=stop)
            trainer.save()
            border = trainer.loader.parts[0].stream.border
        assert border == 3 * config.train.batch
        assert_equal_runs(run(tmp_path / "run", config, resume=True)[0], whole)

    def test_a_run_made_longer_does_not_fall_back_into_its_first_stage(self, digits, tmp_path):
        run_of = {steps: (*self.CONFIG[1:], f"train.steps={steps}") for steps in (6, 8, 20)}
        config = {steps: config_of(digits, *settings, recipe="digits/crt") for steps, settings in run_of.items()}
        with Trainer.open(config[6], begin(tmp_path / "run", config[6]), ALONE, Display(quiet=True)) as trainer:
            trainer.run(until=5)
            trainer.save()
        with pytest.raises(
            UserError, match=r"has done 2 steps of .* in a run of 20 steps begins after 10; leave"
        ) as error:
            run(tmp_path / "run", config[20], resume=True)
        assert "\n" not in str(error.value)
        assert run(tmp_path / "run", config[8], resume=True)[1]["steps"] == 8

    def test_the_best_checkpoint_is_of_the_second_stage_however_good_the_first_was(self, digits, tmp_path, monkeypatch):
        monkeypatch.setattr(Trainer, "measure", lambda self, *_: {"top1": 1 - self.step / 10})
        config = config_of(digits, *self.CONFIG, "train.evaluate_every=0.01", recipe="digits/crt")
        folder, summary = run(tmp_path / "run", config)
        measured = [row["step"] for row in rows(folder) if row.get("split") == "val"]
        assert measured == [1, 2, 3, 4, 5, 6]
        assert checkpoint.load(folder.best)["step"] == summary["best"]["step"] == 4
        assert Trained.load(folder, ALONE).method.retrained

    def test_the_learning_rate_begins_anew_at_the_border(self, whole):
        rates = [row["lr"] for row in rows(whole) if "lr" in row]
        assert rates[:3] == rates[3:] and rates[0] > rates[1] > rates[2]

    def test_the_features_are_those_of_the_border_and_the_new_classifier_learned(self, digits, whole, tmp_path):
        config = config_of(digits, *self.CONFIG, "train.log_every=1", recipe="digits/crt")
        with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
            trainer.run(until=3)
            border = {name: value.clone() for name, value in trainer.method.state_dict().items()}
        end = weights(whole)
        assert all(torch.equal(end[name], value) for name, value in border.items() if name.startswith("model."))
        assert not torch.equal(end["classifier.weight"], border["classifier.weight"])
        assert Trained.load(whole, ALONE, "last").method.retrained

    @pytest.mark.parametrize(("steps", "share", "fewest"), [(9, 0.9, 10), (1, 0.5, 2), (3, 0.75, 4)])
    def test_a_run_too_short_for_a_second_stage_is_refused(self, digits, tmp_path, steps, share, fewest):
        settings = (f"method.first_share={share}", "schedule.warmup=0")
        config = config_of(digits, f"train.steps={steps}", *settings, recipe="digits/crt")
        line = rf"a run of {steps} steps leaves none for the second stage .* make it {fewest} steps or more"
        with pytest.raises(UserError, match=line) as error:
            run(tmp_path / "run", config)
        assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
        config = config_of(digits, f"train.steps={fewest}", *settings, recipe="digits/crt")
        with Trainer.open(config, RunFolder(tmp_path / "run"), ALONE, Display(quiet=True)) as trainer:
            assert trainer.stage_border == fewest - 1

    @pytest.mark.slow
    def test_two_ranks_cross_the_border_as_one(self, digits, tmp_path):
        settings = (
            "train.steps=2",
            "method.name=crt",
            "method.first_share=0.5",
            "model.frozen_batch_norm=true",
            "optimizer.lr=0.001",
            "schedule.warmup=0",
        )
        done = ranks_run(tmp_path / "two", digits, 2, *settings)
        assert done.returncode == 0, done.stderr[-2000:]
        one = weights(run(tmp_path / "one", config_of(digits, *settings))[0])
        two = weights(RunFolder(tmp_path / "two"))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5)


def tau_method(**options):
    return tau_norm.TauNormalisation(tau_norm.Options(**options), SmallNetwork(), DATA).eval()


class TestTauNormalisation:
    @pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
    def test_scores_are_those_of_the_scaled_classifier_without_its_bias(self, tau):
        method, images = tau_method(tau=tau), batch_of().images["main"]
        features = method.model.forward_features(images).mean((2, 3))
        weight = method.model.fc.weight
        expected = torch.stack([features @ row / (row**2).sum() ** (tau / 2) for row in weight], dim=1)
        torch.testing.assert_close(method.predict(images), expected)

    def test_training_is_plain(self):
        method = tau_method()
        plain = ERM(ERMOptions(), method.model, DATA)
        torch.testing.assert_close(method(batch_of(), at(0)), plain(batch_of(), at(0)))

    def test_tau_is_the_one_with_the_highest_mean_accuracy_of_the_classes_the_smallest_of_equals(self):
        method = tau_method()

        def measure():
            """Best at 0.6 and 0.7 in the mean of the classes; overall, which long-tailed validation flatters, at 0."""
            tau = round(float(method.tau), 1)
            tail = 0.9 if tau in (0.6, 0.7) else 0.2
            classes = [{"accuracy": 1 - tau / 10}, {"accuracy": tail}, {"accuracy": None}]
            return {"top1": 1 - tau, "per_class": classes}

        method.choose(measure)
        assert float(method.tau) == pytest.approx(0.6)

    def test_each_measurement_of_validation_is_at_the_tau_that_it_chose(self, digits, tmp_path, monkeypatch):
        monkeypatch.setattr(tau_norm, "_mean_accuracy", lambda found: found["top1"])
        monkeypatch.setattr(
            Trainer, "measure", lambda self, *_: {"top1": 1 - abs(self.step / 10 - self.method.tau.item())}
        )
        config = config_of(digits, "train.steps=3", "train.evaluate_every=0.01", recipe="digits/tau_norm")
        folder, summary = run(tmp_path / "run", config)
        measured = [row["top1"] for row in rows(folder) if row.get("split") == "val"]
        assert measured == pytest.approx([1, 1, 1])
        best = checkpoint.load(folder.best)
        assert float(best["model"]["tau"]) == pytest.approx(best["step"] / 10)

    def test_a_given_tau_is_kept(self):
        method = tau_method(tau=0.3)
        method.choose(lambda: pytest.fail("nothing is measured"))
        assert float(method.tau) == pytest.approx(0.3)

    def test_several_labels_an_image_are_refused(self):
        with pytest.raises(UserError, match="method tau_norm needs one label an image"):
            tau_norm.TauNormalisation(tau_norm.Options(), SmallNetwork(), dataclasses.replace(DATA, multi_label=True))

    def test_a_run_chooses_tau_by_validation_keeps_it_and_resumes_exactly(self, digits, tmp_path):
        config = config_of(digits, "train.steps=6", recipe="digits/tau_norm")
        whole, _ = run(tmp_path / "whole", config)
        with Trainer.open(config, begin(tmp_path / "run", config), ALONE, Display(quiet=True)) as trainer:
            trainer.run(until=3)
            trainer.save()
        assert_equal_runs(run(tmp_path / "run", config, resume=True)[0], whole)
        trained = Trained.load(whole, ALONE)
        kept = checkpoint.load(whole.best)["model"]["tau"]
        assert torch.equal(trained.method.tau, kept)
        found = {}
        for tau in tau_norm._GRID:
            trained.method.tau.fill_(tau)
            rows = trained.measure("val")["per_class"]
            values = [row["accuracy"] for row in rows if row["accuracy"] is not None]
            found[tau] = sum(values) / len(values)
        assert float(kept) == pytest.approx(max(found, key=found.get))


@pytest.mark.parametrize("recipe", ["digits/crt", "digits/ldam"])
def test_nothing_in_a_step_waits_for_the_device(digits, tmp_path, recipe):
    stages = ["method.first_share=0.5"] if recipe == "digits/crt" else []
    config = config_of(digits, "train.steps=2", *stages, recipe=recipe)
    trained_without_waiting(config, tmp_path / "run")


@pytest.mark.parametrize("stream", ["method.stream.sampling", "method.second_stream.sampling"])
def test_a_stream_of_evaluation_is_refused(stream):
    with pytest.raises(UserError, match="sequential is for evaluation"):
        run_config.load("digits/crt", [f"{stream}=sequential"])
