"""Pictures that stay in memory are shown as those that are read step by step."""

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
import torch

from fastlt import one_pass, resident
from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.shards import ShardSet
from fastlt.loader import Loader, Placement
from fastlt.ops import pictures_reference as reference
from tests.data.made_sources import ListSource

CPU, MUCH = torch.device("cpu"), 1 << 30
SIZE, BATCH, COUNT = 16, 12, 90
ALL = {
    "vertical_flip": 0.5,
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 20},
    "grayscale": 0.2,
    "cutout": 6,
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    items = [Item(str(i), picture, (i % 7,)) for i, picture in enumerate(pictures)]
    build(ListSource({"train": items}, classes=7), folder, shard_mb=0.01, workers=1)
    with ShardSet(folder / "train") as opened:
        yield opened


GPU, OPERATOR = "as on a GPU", "by the CPU's operator"


def steps(records, pipeline, held, ranks=1, rank=0, first=5, count=3):
    specs = {"uniform": StreamSpec(), "balanced": StreamSpec(StreamConfig(sampling="class_balanced"), views=2)}
    data = DataConfig(path=".", threads=1, prefetch=1)
    loader = Loader(records, specs, pipeline, BATCH, 0, data, Placement(rank, ranks))
    loader._may_hold = False
    if held:
        loader.held = resident.held_as_shown(records, [pipeline], CPU, MUCH)
        loader.replacement.records = resident.Numbers(records)
    served = patch.object(one_pass, "serves", lambda config: False) if held == GPU else nullcontext()
    with served, loader:
        loader.seek(first, set())
        return [next(loader) for _ in range(count)]


@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all options"])
@pytest.mark.parametrize("recipe", ["crop_flip", "squash", "evaluate"])
@pytest.mark.parametrize("way", [GPU, OPERATOR])
def test_a_held_set_shows_what_one_that_is_read_shows(records, recipe, options, way):
    pipeline = PipelineConfig(name=recipe, size=SIZE, **options)
    for one, other in zip(steps(records, pipeline, way), steps(records, pipeline, None), strict=True):
        for name in ("uniform", "balanced"):
            assert one.images[name].shape == other.images[name].shape
            level = 1 / (255 * min(pipeline.std))
            gap = (one.images[name] - other.images[name]).abs()
            assert gap.max() <= 1.01 * level if options else gap.max() <= 1e-5
            assert (gap > 1e-5).float().mean() < 0.01  # where colours were rounded to another level
            assert torch.equal(one.labels[name], other.labels[name])
            assert torch.equal(one.index[name], other.index[name])
            assert torch.equal(one.position[name], other.position[name])


@pytest.mark.parametrize("way", [GPU, OPERATOR])
def test_ranks_and_resuming_change_nothing(records, way):
    pipeline = PipelineConfig(name="crop_flip", size=SIZE)
    whole = steps(records, pipeline, way, first=7, count=1)[0]
    parts = [steps(records, pipeline, way, ranks=2, rank=rank, first=5)[2] for rank in range(2)]
    assert torch.equal(torch.cat([part.images["uniform"] for part in parts]), whole.images["uniform"])


def test_each_step_is_that_of_the_reference():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    numbers = rng.integers(0, 5, BATCH)
    offsets = rng.integers(-SIZE - 2, SIZE + 3, (BATCH, 2), dtype=np.int32)
    mirrored, upside_down = rng.integers(0, 2, (2, BATCH), dtype=np.int32)
    erased = np.concatenate([rng.integers(0, 8, (BATCH, 2)), rng.integers(0, 9, (BATCH, 2))], axis=1)
    scale, shift = [0.01, 0.02, 0.03], [-1.0, 0.0, 2.0]
    drawn = {"offsets": offsets, "mirrored": mirrored, "upside_down": upside_down, "erased": erased.astype(np.int32)}
    found = resident.shown(
        torch.from_numpy(pictures),
        torch.from_numpy(numbers),
        **{name: torch.from_numpy(rows) for name, rows in drawn.items()},
        scale=torch.tensor(scale),
        shift=torch.tensor(shift),
    )
    for row, number in enumerate(numbers):
        truth = reference.shown(
            pictures[number],
            (0, 0, SIZE, SIZE),
            SIZE,
            SIZE,
            offset=tuple(offsets[row]),
            mirrored=bool(mirrored[row]),
            upside_down=bool(upside_down[row]),
            erased=tuple(erased[row]),
            scale=scale,
            shift=shift,
        )
        np.testing.assert_allclose(found[row].numpy(), truth, atol=1e-5)


def test_half_precision_rounds_at_the_end(records):
    pipeline = PipelineConfig(name="squash", size=SIZE)
    drawn = {"mirror": np.zeros(3, np.int32)}
    fed = type("Fed", (), {"pictures": np.arange(3), "drawn": drawn})
    pictures = resident.held_as_shown(records, [pipeline], CPU, MUCH)
    single, half = (resident.Graph(pipeline, pictures, lambda _: fed, half).run(0) for half in (False, True))
    assert half.dtype == torch.float16
    assert torch.equal(half, single.half())


@pytest.mark.parametrize(
    "pipeline",
    [
        {"name": "crop_flip", "size": SIZE + 1},
        {"name": "random_resized_crop", "size": SIZE},
        {"name": "photometric", "size": SIZE},
        {"name": "evaluate", "resize": "crop", "size": SIZE},
        {"name": "crop_flip", "size": SIZE, "auto_augment": "cifar10"},
    ],
    ids=str,
)
def test_recipes_that_resize_or_have_a_policy_are_not_served(records, pipeline):
    fits = PipelineConfig(name="crop_flip", size=SIZE)
    assert resident.held_as_shown(records, [fits], CPU, MUCH) is not None
    assert resident.held_as_shown(records, [fits, PipelineConfig(**pipeline)], CPU, MUCH) is None


def test_a_set_that_takes_too_much_room_is_read_step_by_step(records):
    pipeline = PipelineConfig(name="crop_flip", size=SIZE)
    needed = COUNT * SIZE * SIZE * 3
    assert resident.held_as_shown(records, [pipeline], CPU, needed) is not None
    assert resident.held_as_shown(records, [pipeline], CPU, needed - 1) is None


def test_on_the_cpu_they_are_held_and_never_read_again(records, monkeypatch):
    read = [records.read(np.array([7, 3])), resident.held(records, CPU, MUCH)[[7, 3]].numpy()]
    assert np.array_equal(*read)
    pipeline = PipelineConfig(name="random_resized_crop", size=SIZE + 3)
    with Loader(records, {"all": StreamSpec()}, pipeline, BATCH, 0, DataConfig(path=".", threads=1)) as loader:
        next(loader)
        monkeypatch.setattr(ShardSet, "read", lambda *_: pytest.fail("a picture was read"))
        shown = [next(loader) for _ in range(60)][-1]
    assert shown.images["all"].shape == (BATCH, 3, SIZE + 3, SIZE + 3)


def test_a_set_may_take_a_quarter_of_the_free_memory_and_no_more_than_can_be_read_soon(monkeypatch):
    for free, room in ((800, 200), (None, 0), (1 << 40, resident.MOST_ON_CPU)):
        monkeypatch.setattr(resident, "free_memory", lambda device, free=free: free)
        assert resident.room(CPU) == room


def test_pictures_are_held_from_the_first_step_on_and_not_where_each_is_shown_once(records, monkeypatch):
    made = []
    monkeypatch.setattr(resident, "held", lambda *_: made.append(1))
    for sampling, count in (("uniform", 1), ("sequential", 0)):
        made.clear()
        specs, data = {"all": StreamSpec(StreamConfig(sampling=sampling))}, DataConfig(path=".", threads=1)
        with Loader(records, specs, PipelineConfig(name="squash", size=SIZE), BATCH, 0, data) as loader:
            assert made == []
            next(loader)
            loader.seek(3, set())
            next(loader)
        assert len(made) == count


def test_encoded_sets_and_pictures_of_several_shapes_are_not_held(digits, tmp_path):
    with ShardSet(digits / "train") as encoded:
        assert encoded.encoding == "encoded" and resident.held(encoded, CPU, MUCH) is None
    pictures = [np.zeros((side, 8, 3), np.uint8) for side in (8, 8, 9)]
    items = [Item(str(number), picture, (0,)) for number, picture in enumerate(pictures)]
    build(ListSource({"train": items}, classes=1), tmp_path / "raw", workers=1)
    with ShardSet(tmp_path / "raw" / "train") as several:
        assert several.encoding == "raw" and resident.held(several, CPU, MUCH) is None
