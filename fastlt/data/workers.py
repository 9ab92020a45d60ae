"""Pictures prepared by several processes, in the order of the items and with a bounded number in flight."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from fastlt.data.item import Item
from fastlt.data.pictures import Checks, Picture, Treatment, prepare_all
from fastlt.errors import UserError

CHUNK = 32  # images sent to a process at a time

Work = Callable[[list], list["Picture | str"]]
Prepare = Callable[[Iterator[Item]], Iterator[tuple[Item, "Picture | str"]]]


@contextmanager
def prepared(executor: Executor | None, workers: int | None, treatment: Treatment, checks: Checks) -> Iterator[Prepare]:
    """Gives a function from items to (item, picture or the reason why it is bad).

    `executor` does the work if it is given, else `workers` processes, by default one a core; with one, this process.
    """
    workers = workers or os.cpu_count() or 1
    work = partial(prepare_all, treatment=treatment, checks=checks)
    if executor is not None:
        yield lambda items: _ordered(executor, items, work, 4 * workers)
    elif workers == 1:
        yield lambda items: _here(items, work)
    else:
        context = multiprocessing.get_context("spawn")  # forking a process that has threads can hang it
        with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
            try:
                yield lambda items: _ordered(pool, items, work, 4 * workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _here(items: Iterator[Item], work: Work) -> Iterator[tuple[Item, Picture | str]]:
    items = iter(items)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield from zip(chunk, work([item.image for item in chunk]), strict=True)


def _ordered(executor: Executor, items: Iterator[Item], work: Work, ahead: int) -> Iterator[tuple[Item, Picture | str]]:
    items, pending = iter(items), deque()
    while True:
        while len(pending) < ahead and (chunk := list(itertools.islice(items, CHUNK))):
            pending.append((chunk, executor.submit(work, [item.image for item in chunk])))
        if not pending:
            return
        chunk, future = pending.popleft()
        try:
            pictures = future.result()
        except BrokenExecutor as error:
            raise UserError(
                "a worker process was ended from outside, perhaps for want of memory; "
                "run the same command again with fewer workers, it goes on after the last whole shard"
            ) from error
        yield from zip(chunk, pictures, strict=True)


def _end_with_parent() -> None:
    """A worker waits for work for ever, even if its parent was killed; so it watches the parent."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
