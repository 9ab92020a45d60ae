"""The baseline is a fair one: it sees the same pictures, and learns what fastlt learns from them."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from fastlt.bench.baseline import Pictures, PlainPictures, plain_batches
from fastlt.bench.photos import photo_set
from fastlt.bench.plain_training import Form, PlainTraining
from fastlt.bench.raw import raw_set

from fastlt import config, distributed, methods
from fastlt.batch import Batch, StreamSpec
from fastlt.config import ColorJitter, DataConfig, PipelineConfig
from fastlt.errors import UserError
from fastlt.loader import Loader
from fastlt.progress import Progress, TrainingSet
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trainer import Trainer

BATCH = 16
RECIPES = {
    "random_resized_crop": PipelineConfig(name="random_resized_crop", size=64),
    "squash": PipelineConfig(name="squash", size=48),
    "evaluate": PipelineConfig(name="evaluate", size=56, resize="crop"),
}


@pytest.fixture(scope="module")
def photos():
    with photo_set(None, (90, 120), 40) as (records, files):
        every = np.arange(len(records))
        yield records, Pictures(files, records.shapes(every), records.labels(every))


@pytest.fixture(scope="module")
def small():
    with raw_set(count=64) as (records, arrays):
        every = np.arange(len(records))
        yield records, Pictures(arrays, records.shapes(every), records.labels(every))


@contextmanager
def both(records, pictures, pipeline, form, workers=0):
    """Our loader, and the baseline's over the same positions with the same draws."""
    with Loader(records, {"main": StreamSpec()}, pipeline, BATCH, 3, DataConfig(path=records.folder)) as ours:
        (part,) = ours.parts
        plain = PlainPictures(pictures, part.stream, pipeline, part.view_keys[0], form)
        with plain_batches(plain, BATCH, workers) as theirs:
            yield ours, theirs


def apart(ours, theirs, pipeline):
    """The largest difference of two pictures, of 255."""
    std = torch.tensor(pipeline.std)[:, None, None]
    return float(((ours - theirs) * std * 255).abs().max())


@pytest.mark.parametrize("form", ["pillow", "torchvision"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_photos_are_the_same_within_2_of_255(photos, recipe, form):
    with both(*photos, RECIPES[recipe], form) as (ours, theirs):
        for _ in range(3):  # beyond one epoch of 40
            batch, (images, labels) = next(ours), next(theirs)
            assert apart(batch.images["main"], images, RECIPES[recipe]) <= 2
            assert torch.equal(batch.labels["main"], labels)


@pytest.mark.parametrize("form", ["pillow", "torchvision"])
def test_small_arrays_are_the_same_to_rounding(small, form):
    pipeline = PipelineConfig(name="crop_flip", size=32, pad=4)
    with both(*small, pipeline, form) as (ours, theirs):
        images = next(theirs)[0]
        assert apart(next(ours).images["main"], images, pipeline) < 0.01
        assert not torch.equal(images, images.flip(3))


def test_worker_processes_change_nothing(small):
    pipeline = PipelineConfig(name="crop_flip", size=32, pad=4)
    with both(*small, pipeline, "torchvision", workers=2) as (ours, theirs):
        for _ in range(5):
            assert apart(next(ours).images["main"], next(theirs)[0], pipeline) < 0.01


def test_a_recipe_that_does_more_is_refused(small):
    pipeline = PipelineConfig(name="crop_flip", size=32, color_jitter=ColorJitter(brightness=0.4))
    with pytest.raises(UserError, match="color_matrix"), both(*small, pipeline, "torchvision"):
        pass


def test_both_reach_the_same_loss_on_digits(digits, tmp_path):
    """40 steps from the same weights: alike at first, and in the end apart by what rounding has grown to."""
    settings = [f"data.path={digits}", "train.steps=40", "train.batch=32", "train.precision=fp32", "optimizer.lr=0.005"]
    run, _ = config.load("digits/erm", settings)
    ranks = distributed.Ranks(0, 1, torch.device("cpu"))
    with Trainer.open(run, RunFolder(tmp_path), ranks, Display(None, quiet=True)) as trainer:
        part, records = trainer.loader.parts[0], trainer.records
        every = np.arange(len(records))
        pictures = Pictures(_files(records, tmp_path), records.shapes(every), records.labels(every))
        dataset = PlainPictures(pictures, part.stream, run.pipeline, part.view_keys[0], "pillow")
        method = methods.build(run, trainer.data, ranks.device, lambda line: None)
        plain = PlainTraining(run, method, trainer.steps, trainer.steps_per_epoch)
        trainer.method.train()
        with plain_batches(dataset, run.train.batch, 0) as theirs:
            losses = [_losses_of_step(trainer, plain, *next(theirs)) for _ in range(trainer.steps)]
    ours, plain = np.array(losses).T
    assert plain[:5] == pytest.approx(ours[:5], rel=0.001)
    assert ours[-10:].mean() < 0.6 * ours[:5].mean()
    assert plain[-10:].mean() == pytest.approx(ours[-10:].mean(), rel=0.05)


def _losses_of_step(trainer, plain, images, labels):
    trainer.sums = {}
    trainer.train_step(next(trainer.loader))
    trainer.step += 1
    here = {"main": torch.arange(len(labels))}
    return float(trainer.sums["loss"]), float(plain(Batch({"main": images}, {"main": labels}, here, here)))


def _files(records, folder):
    paths = [folder / f"{number}.png" for number in range(len(records))]
    for number, path in enumerate(paths):
        path.write_bytes(records.read(np.array([number]))[0].tobytes())
    return paths


@pytest.mark.parametrize("recipe", ["cifar10_lt/hybrid_psc", "voc_lt/collaborative"])
@pytest.mark.parametrize("fused", [False, True])
def test_losses_written_out_are_those_of_the_method(recipe, fused):
    """In one pass through the network, where batch norm sees what it sees in ours."""
    multi_label = recipe.startswith("voc")
    data = TrainingSet("made", "", [str(c) for c in range(6)], [40, 30, 20, 10, 5, 2], {}, multi_label, 100)
    backbone = "resnet18" if multi_label else "cifar_resnet20"
    settings = ["data.path=none", "model.init=null", f"model.backbone={backbone}", "train.clip_norm=null"]
    run, _ = config.load(recipe, settings)
    one, other = (methods.build(run, data, torch.device("cpu"), lambda line: None).train() for _ in range(2))
    torch.manual_seed(1)
    labels = (torch.rand(6, 6) < 0.3).to(torch.int8) if multi_label else torch.arange(6)
    images = {name: torch.randn(6, 3, 32, 32) for name in one.streams}
    batch = Batch(images, dict.fromkeys(images, labels), {}, {})
    expected = sum(one(batch, Progress(0, 10, 0.0, 1.0)).values())
    plain = PlainTraining(run, other, 10, 10.0, Form(one_pass=True, fused_losses=fused))
    assert plain(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_method_or_loss_that_is_not_written_out_is_refused():
    data = TrainingSet("made", "", ["0", "1"], [3, 2], {}, False, 5)
    for change in ("method=csl", "method.loss=focal"):
        run, _ = config.load("digits/erm", ["data.path=none", change])
        method = methods.build(run, data, torch.device("cpu"), lambda line: None)
        with pytest.raises(UserError, match="does not know method"):
            PlainTraining(run, method, 1, 1.0)
