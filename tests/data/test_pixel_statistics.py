"""Mean and deviation of the pixels of a data set, and how the command says them."""

import json

import numpy as np
import pytest
from made_sources import ListSource, encoded, pixels

from fastlt.cli import commands
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.pixel_statistics import pixel_statistics
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError

SHAPES = [(8, 8), (40, 30), (16, 50), (9, 7)]
PICTURES = [(pixels(n, *shape) // (n + 1)).astype(np.uint8) for n, shape in enumerate(SHAPES)]


@pytest.fixture(params=["encoded", "raw"])
def data(request, tmp_path):
    items = [Item(str(n), encoded(picture), (0,)) for n, picture in enumerate(PICTURES)]
    build(ListSource({"train": items}, classes=1), tmp_path, workers=1, raw=request.param == "raw")
    return tmp_path


def truth():
    """Each picture repeated until all have equally many pixels."""
    count = np.lcm.reduce([picture.shape[0] * picture.shape[1] for picture in PICTURES])
    flat = [picture.reshape(-1, 3) / 255 for picture in PICTURES]
    every = np.concatenate([np.repeat(own, count // len(own), axis=0) for own in flat])
    return every.mean(0), every.std(0)


def test_each_picture_counts_the_same(data):
    mean, std = truth()
    with ShardSet(data / "train") as records:
        found = pixel_statistics(records)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(found.std, std, rtol=1e-9)


def test_the_command_prints_them_as_settings_of_a_run(data, capsys):
    commands.main(["inspect", str(data), "--pixels", "--json", str(data / "f.json")], standalone_mode=False)
    found = json.loads((data / "f.json").read_text())["pixels"]
    np.testing.assert_allclose(found["mean"], truth()[0], rtol=1e-9)
    shown = ",".join(f"{value:.4f}" for value in truth()[0])
    assert f"--set pipeline.mean=[{shown}] --set pipeline.std=[" in capsys.readouterr().out


def test_a_picture_that_cannot_be_decoded_is_named(data):
    with ShardSet(data / "train") as records:
        records.read = lambda rows: [np.frombuffer(b"no picture", np.uint8)] * len(rows)
        with pytest.raises(UserError, match="picture 0 cannot be decoded .*build the data set again"):
            pixel_statistics(records)
