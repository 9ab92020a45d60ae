"""How much memory the step of a subject takes at its highest, on a CPU.

In a process of its own, whose C library gives large tensors back to the system as soon as they are freed. Else, as in
`fastlt train` (fastlt/heap.py), it keeps them in its heap, and the holes of that, a fifth of all, differ from run to
run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastlt.bench.memory import peak_bytes
from fastlt.bench.runs import Subject
from fastlt.bench.step_forms import WHOLE, forms

GLIBC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_MMAP_MAX_": str(1 << 20)}  # read when a process begins


def peaks(subject: Subject, data: Path) -> dict[str, int | None]:
    """Bytes beyond what is held between steps, of each form in WHOLE, on the data set in `data`."""
    fresh = multiprocessing.get_context("spawn")
    with _environment(GLIBC), ProcessPoolExecutor(1, fresh) as pool:
        return pool.submit(_peaks, subject, data).result()


def _peaks(subject: Subject, data: Path) -> dict[str, int | None]:
    with ExitStack() as stack:
        work = forms(subject, data, stack).work
        return {form: peak_bytes(work[form]) for form in WHOLE}


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
