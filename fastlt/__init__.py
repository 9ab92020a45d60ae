"""fastlt: image recognisers on long-tailed data, single-label and multi-label.

An installed package holds `fastlt.pipelines`, `fastlt.configs` and `fastlt.bench`. In a checkout these three
stand beside this folder, and in the repository root Python finds this folder first, whatever is installed. A
small finder then takes the three from the same checkout, so that code and recipes belong together.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
_BESIDE = ("fastlt.pipelines", "fastlt.configs", "fastlt.bench")


class _CheckoutFinder:
    """Finds the top-level folders of a checkout under the package's name, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_HERE.parent)]) if name in _BESIDE else None


if not (_HERE / "pipelines").is_dir() and (_HERE.parent / "pyproject.toml").is_file():
    # First in line: an editable install of another checkout would answer otherwise.
    sys.meta_path.insert(0, _CheckoutFinder)
