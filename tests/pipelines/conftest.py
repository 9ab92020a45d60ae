"""Makes `dali_graphs` importable by the tests of this folder, and runs recipes in both forms of the CPU."""

import sys
from functools import partial
from pathlib import Path

import pytest

from fastlt.ops import library

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def operator():
    """The compiled operator."""
    if library.namespace() is None:
        pytest.skip(library.description())


@pytest.fixture(params=["operator", "graph"])
def run(request):
    """`dali_graphs.run` by the compiled operator, and by DALI's whole graph."""
    from dali_graphs import run

    if request.param == "operator":
        request.getfixturevalue("operator")
    return partial(run, form=request.param)
