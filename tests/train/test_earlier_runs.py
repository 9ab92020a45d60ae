"""Runs that open earlier ones."""

import torch

from fastlt.train import precision
from fastlt.train.trained import EarlierRuns
from tests.train.test_trainer import ALONE, config_of, run


def test_the_precision_of_an_earlier_run_does_not_become_that_of_the_run_that_opens_it(digits, tmp_path):
    folder, _ = run(tmp_path / "fp32", config_of(digits, "train.steps=1"))
    own = precision.Precision("tf32", ALONE.device, "for the test")
    own.activate()
    try:
        earlier = EarlierRuns(config_of(digits), ALONE, own)(folder.path)
        assert earlier.precision.name == "fp32"
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        earlier.precision.activate()
