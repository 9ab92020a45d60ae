"""On real handwritten digits, the classics lift the rarest classes."""

import statistics

import pytest
import torch

from fastlt import config as run_config
from fastlt.distributed import Ranks
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import train

SEEDS = range(5)
ALONE = Ranks(0, 1, torch.device("cpu"))


def tail3(recipe, seed, data, out):
    config, _ = run_config.load(recipe, [f"data.path={data}", f"seed={seed}", "train.precision=fp32"])
    folder = RunFolder(out / f"{recipe.replace('/', '_')}_{seed}")
    train(config, folder, ALONE, False, Display(quiet=True), changes=[])
    return Trained.load(folder, ALONE).measure("test")["tail3"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_balanced_softmax_and_the_class_balanced_stream_beat_plain_training_on_the_tail_by_five_points(
    digits, tmp_path
):
    recipes = ("digits/erm", "digits/bsce", "digits/erm_class_balanced")
    found = {recipe: [tail3(recipe, seed, digits, tmp_path) for seed in SEEDS] for recipe in recipes}
    means = {recipe: statistics.mean(values) for recipe, values in found.items()}
    assert means["digits/bsce"] >= means["digits/erm"] + 0.05, found
    assert means["digits/erm_class_balanced"] >= means["digits/erm"] + 0.05, found
