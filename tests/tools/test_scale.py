"""What is held of an image is what docs/scale.md says; and tools/scale.py, which measures it for millions, works."""

import importlib.util
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from fastlt.batch import StreamSpec
from fastlt.config import DataConfig, PipelineConfig, StreamConfig
from fastlt.data.shards import ShardSet
from fastlt.loader import Loader

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "scale.py"
FEW, MANY, CLASSES, RECORDS = 10_000, 40_000, 200, 10_000


@pytest.fixture(scope="module", params=[1, 4], ids=["one label", "four labels"])
def sets(request, tmp_path_factory):
    """Folders of two sets, the second with more images."""
    spec = importlib.util.spec_from_file_location("scale", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out = tmp_path_factory.mktemp("large")
    return [tool.write(out / str(images), images, CLASSES, request.param, RECORDS) for images in (FEW, MANY)]


def held(folder: Path, sampling: str) -> tuple[int, int, float, float]:
    """Bytes that a set and a loader on it hold, and held at most; its stated labels, and the positive ones."""
    spec = {"main": StreamSpec(StreamConfig(sampling=sampling))}
    tracemalloc.start()
    try:
        with ShardSet(folder / "train") as records:
            data = DataConfig(path=folder, threads=1)
            loader = Loader(records, spec, PipelineConfig(name="squash", size=8), 16, 0, data)
            loader.parts[0].stream.indices(0, 16)
            found = tracemalloc.get_traced_memory()
            return *found, len(records.label_rows.index), len(records.class_members()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sampling", ["uniform", "class_balanced", "square_root"])
def test_an_image_takes_28_bytes_5_a_stated_label_4_a_positive_one_and_two_bits(sets, sampling):
    for folder in sets:  # what is imported and remembered once
        held(folder, sampling)
    few, many = (held(folder, sampling) for folder in sets)
    grown, stated, positive = (many[i] - few[i] for i in (0, 2, 3))
    arrays = 28.25 * (MANY - FEW) + 5 * stated + 4 * positive
    shards = (MANY - FEW) // RECORDS
    assert arrays <= grown < arrays + 8_000 * shards


def test_to_open_a_set_takes_little_more_than_to_hold_it(sets):
    few, many = (held(folder, "class_balanced") for folder in sets)
    assert many[1] - few[1] < 1.5 * (many[0] - few[0])  # not twice: the arrays are joined shard by shard


def test_the_page_says_so_too():
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert re.search(r"28 bytes an image, 5 a stated label, 4 a positive one", text)


@pytest.mark.slow
def test_the_tool_measures_a_small_set(tmp_path):
    command = [sys.executable, TOOL, "--images", "3000", "--classes", "50", "--labels", "2", "--records", "1000"]
    subprocess.run([*command, "--work", tmp_path / "set", "--json", tmp_path / "found.json"], check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["images"] == 3000 and found["verify"]["problems"] == 0
    assert found["copies"]["shared"] == 0 < found["shared"]["shared"] < 1
    assert all(found[part]["peak"] >= found[part]["held"] - 1 for part in ("open", "lists", "loader", "inspect"))
