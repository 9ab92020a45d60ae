"""Makes `made_sources` importable by the tests of this folder, and finds real data."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def real_data():
    """A function from a file's name to its path below FASTLT_DATA; skips where it is not there."""

    def find(name):
        folder = os.environ.get("FASTLT_DATA")
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"needs {name} in the folder that FASTLT_DATA names")
        return Path(folder) / name

    return find
