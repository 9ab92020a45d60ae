"""Data sets that several tests share, built once a session."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # corrupted

torch.set_num_threads(min(torch.get_num_threads(), 2))


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
