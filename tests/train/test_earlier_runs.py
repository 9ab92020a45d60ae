"""Runs that open earlier ones."""

import pytest
import torch
from rich.console import Console

from fastlt.commands.training import train_config
from fastlt.errors import UserError
from fastlt.train import precision
from fastlt.train.display import Display
from fastlt.train.trained import EarlierRuns
from fastlt.train.trainer import Trainer
from tests.train.test_trainer import ALONE, begin, config_of, finished


def open_run(digits, path):
    return EarlierRuns(config_of(digits), ALONE, precision.choose("fp32", ALONE.device))(path)


def test_a_run_that_was_stopped_is_none_until_it_is_finished(digits, tmp_path):
    config = config_of(digits, "train.steps=2")
    folder = begin(tmp_path / "run", config)
    with Trainer.open(config, folder, ALONE, Display(quiet=True)) as trainer:
        trainer.run(until=1)
        trainer.save()
    with pytest.raises(UserError, match=r"run is not finished; go on with fastlt train --resume --out .*run$"):
        open_run(digits, folder.path)
    train_config(config, [], folder, True, "cpu", Console(quiet=True))
    assert open_run(digits, folder.path).step == 2


def test_where_nothing_was_trained_the_answer_is_to_train_first(digits, tmp_path):
    with pytest.raises(UserError, match="no checkpoint .*: train first"):
        open_run(digits, tmp_path)


def test_the_precision_of_an_earlier_run_does_not_become_that_of_the_run_that_opens_it(digits, tmp_path):
    folder = finished(tmp_path / "fp32", config_of(digits, "train.steps=1"))
    own = precision.Precision("tf32", ALONE.device, "for the test")
    own.activate()
    try:
        earlier = EarlierRuns(config_of(digits), ALONE, own)(folder.path)
        assert earlier.precision.name == "fp32"
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        earlier.precision.activate()
