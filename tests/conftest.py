"""Data sets that several tests share, built once a process."""

import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # corrupted

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
torch.set_num_threads(max(1, min(torch.get_num_threads() // PROCESSES, 2)))


@pytest.fixture(autouse=True, scope="session")
def usual_heap():
    """No test changes how the tests' own process keeps memory, which others measure; tests/test_heap.py has its own."""
    with patch("fastlt.heap.keep_freed_memory"):
        yield


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Folder of the single-label digits: train, val, test."""
    return _built(tmp_path_factory, "single")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Folder of the multi-label scenes of digits."""
    return _built(tmp_path_factory, "scenes")


def _built(tmp_path_factory, form):
    from fastlt.data.build import build
    from fastlt.data.sources import open_source

    out = tmp_path_factory.mktemp("data") / form
    build(open_source("digits", form=form), out, workers=1)
    return out
