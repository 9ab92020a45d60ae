"""With the features of every picture in memory, a step shows those of the very pictures that it would have shown."""

import numpy as np
import pytest
import torch

from fastlt import cached_features
from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.loader import Loader, Placement

SIZE, BATCH = 12, 12
SPECS = {"uniform": StreamSpec(), "balanced": StreamSpec(StreamConfig(sampling="class_balanced"), views=2)}
IN_ORDER = {"all": StreamSpec(StreamConfig(sampling="sequential"))}
FLIPS = [(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (1, 0), (1, 0.5), (0.5, 1)]


def loader(records, specs, pipeline, batch, ranks=1, rank=0):
    return Loader(records, specs, pipeline, batch, 0, DataConfig(path=".", threads=1), Placement(rank, ranks))


@pytest.fixture(scope="module")
def records(digits):
    with ShardSet(digits / "train") as opened:
        yield opened


def features(records, pipeline):
    """As of a frozen part that gives the pictures themselves."""
    found = []
    for way in cached_features.ways(pipeline):
        with loader(records, IN_ORDER, way, len(records)) as shown:
            found.append(next(shown).images["all"].permute(0, 2, 3, 1))
    return torch.stack(found)


def steps(records, pipeline, kept=None, first=60, count=4, **place):
    with loader(records, SPECS, pipeline, BATCH, **place) as shown:
        if kept is not None:
            shown.show_features(kept)
        shown.seek(first, set())
        return [next(shown) for _ in range(count)]


@pytest.mark.parametrize(("horizontal", "vertical"), FLIPS)
def test_they_are_of_the_pictures_that_belong_there(records, horizontal, vertical):
    pipeline = PipelineConfig(name="squash", size=SIZE, horizontal_flip=horizontal, vertical_flip=vertical)
    kept = features(records, pipeline)
    assert len(kept) == (1 + (0 < horizontal < 1)) * (1 + (0 < vertical < 1))
    for one, other in zip(steps(records, pipeline, kept), steps(records, pipeline), strict=True):
        for name in SPECS:
            assert torch.equal(one.images[name], other.images[name])
            assert torch.equal(one.labels[name], other.labels[name])
            assert torch.equal(one.index[name], other.index[name])


def test_ranks_and_resuming_change_nothing(records):
    pipeline = PipelineConfig(name="squash", size=SIZE)
    kept = features(records, pipeline)
    whole = steps(records, pipeline, kept, first=7, count=1)[0]
    parts = [steps(records, pipeline, kept, first=5, count=3, ranks=2, rank=rank)[2] for rank in range(2)]
    assert torch.equal(torch.cat([part.images["uniform"] for part in parts]), whole.images["uniform"])


def test_no_picture_is_read_any_more(records, monkeypatch):
    pipeline = PipelineConfig(name="squash", size=SIZE)
    kept = features(records, pipeline)
    monkeypatch.setattr(ShardSet, "read", lambda *_: pytest.fail("a picture was read"))
    assert len(steps(records, pipeline, kept)) == 4


def test_features_of_any_shape_are_shown(records):
    kept = torch.arange(2 * len(records) * 2 * 3 * 5.0).view(2, len(records), 2, 3, 5)
    (step, *_) = steps(records, PipelineConfig(name="squash", size=SIZE), kept)
    assert step.images["uniform"].shape == (BATCH, 5, 2, 3)
    index = step.index["uniform"]
    either = kept[:, index].permute(0, 1, 4, 2, 3)
    same = (step.images["uniform"] == either).all(dim=(2, 3, 4))
    assert same.any(0).all() and np.unique(same.numpy().argmax(0)).tolist() == [0, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "random_resized_crop"},
        {"name": "crop_flip"},
        {"name": "photometric"},
        {"name": "squash", "cutout": 4},
        {"name": "squash", "grayscale": 0.1},
        {"name": "squash", "color_jitter": {"hue": 10}},
        {"name": "squash", "auto_augment": "cifar10"},
        {"name": "squash", "rand_augment": {}},
    ],
    ids=str,
)
def test_a_recipe_that_does_more_than_flip_is_refused_by_the_name_of_what_it_does(options):
    name = [f"pipeline.{key}" for key in options if key != "name"] or [f"pipeline.name={options['name']}"]
    with pytest.raises(UserError, match=name[0]):
        list(cached_features.ways(PipelineConfig(size=SIZE, **options)))
