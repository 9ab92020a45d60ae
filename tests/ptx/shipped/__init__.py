"""Every kernel that the library ships, with inputs, launch shape, truth and least traffic: for running its PTX.

for name in names(ptx):
    outcome = run(name, kernel, Shape(...))
"""

from .bench import Bench, Outcome, Shape
from .contrastive import CASES as CONTRASTIVE
from .entries import CASES as ENTRIES
from .names import Name, identify

CASES = {**ENTRIES, **CONTRASTIVE}

__all__ = ["CASES", "Name", "Outcome", "Shape", "identify", "run"]


def run(name: Name, kernel, shape: Shape) -> Outcome:
    """Launches the kernel once. Raises KeyError for a kernel that has no case yet, PtxError for a faulty one."""
    bench = Bench(kernel, name, shape)
    CASES[name.family](bench)
    return bench.outcome()
