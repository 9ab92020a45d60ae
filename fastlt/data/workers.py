"""Pictures prepared by several processes, in the order of the items and with a bounded number in flight."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fastlt.data.item import Item
from fastlt.data.pictures import Checks, Picture, Treatment, prepare_all
from fastlt.data.shared_slots import SharedSlots
from fastlt.errors import UserError

CHUNK = 32  # images sent to a process at a time
ALONE = 0.1  # seconds that this process works before it looks whether to start others
WORTH = 1.0  # seconds of work that must be left for them, who take half a second of it to start
HANDED_OVER = 100e-6  # seconds an image below which this process prepares it sooner than it hands it over

Work = Callable[[list], list["Picture | str"]]
Prepare = Callable[[Iterator[Item], int], Iterator[tuple[Item, "Picture | str"]]]


@contextmanager
def prepared(executor: Executor | None, workers: int | None, treatment: Treatment, checks: Checks) -> Iterator[Prepare]:
    """Gives a function from items, and how many these are, to (item, picture or the reason why it is bad).

    The bytes of a picture are only there until the next item is asked for. `executor` does the work if it is given, for
    4 `workers` chunks at a time; else `workers` processes, by default one a core: this one, and others once it has
    worked ALONE seconds, images take long and many are left.
    """
    workers = workers or os.cpu_count() or 1
    work = partial(prepare_all, treatment=treatment, checks=checks)
    if executor is not None:
        ahead = 4 * workers
        yield lambda items, _: _seen_here(_ordered(items, lambda _, images: executor.submit(work, images), ahead), work)
    elif workers == 1:
        yield lambda items, _: _here(items, work)
    else:
        processes = _Processes(workers - 1, work)
        try:
            yield processes.prepare
        finally:
            processes.end()


class _Processes:
    """This process, and `others` where the work is worth it; their pictures come through shared memory."""

    def __init__(self, others: int, work: Work):
        self._others, self._work = others, work
        self._ahead = 2 * others + 2
        self._pool: ProcessPoolExecutor | None = None
        self._look_again()

    def prepare(self, items: Iterator[Item], count: int) -> Iterator[tuple[Item, Picture | str]]:
        items, self._left = iter(items), count
        yield from _here(items, self._work_alone, self._are_up)
        yield from _ordered(items, self._submit, self._ahead, self._receive, self._work)

    def end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _work_alone(self, images: list) -> list[Picture | str]:
        begun = time.monotonic()
        pictures = self._work(images)
        self._seconds += time.monotonic() - begun
        self._images += len(images)
        self._left -= len(images)
        return pictures

    def _are_up(self) -> bool:
        """Starts them when it is time; whether one of them waits for work."""
        if self._pool is None and time.monotonic() >= self._look_at:
            if self._seconds > self._images * max(HANDED_OVER, WORTH / max(self._left, 1)):
                self._start()
            self._look_again()
        return self._pool is not None and self._first.done()

    def _look_again(self) -> None:
        self._look_at, self._seconds, self._images = time.monotonic() + ALONE, 0.0, 0

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process that has threads can hang it
        self._slots = SharedSlots(context, self._ahead)
        self._pool = ProcessPoolExecutor(self._others, context, initializer=_begin, initargs=(self._slots,))
        with _without_interrupts():
            self._first, *_ = [self._pool.submit(os.getpid) for _ in range(self._others)]

    def _receive(self, pictures: list) -> list[Picture | str]:
        return self._slots.get(pictures)

    def _submit(self, slot: int, images: list) -> Future:
        return self._pool.submit(_into_slot, self._work, slot, images)


_slots: SharedSlots  # of a worker


def _begin(slots: SharedSlots) -> None:
    global _slots
    _slots = slots
    _end_with_parent()


def _into_slot(work: Work, slot: int, images: list) -> list:
    return _slots.put(slot, work(images))


def _here(
    items: Iterator[Item], work: Work, is_over: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Item, Picture | str]]:
    items = iter(items)
    while not is_over() and (chunk := _chunk(items)):
        yield from zip(chunk, work(_images(chunk)), strict=True)


def _ordered(
    items: Iterator[Item],
    submit: Callable[[int, list], Future],
    ahead: int,
    receive: Callable[[list], list[Picture | str]] = lambda pictures: pictures,
    help: Work | None = None,
) -> Iterator[tuple[Item, Picture | str]]:
    """At most `ahead` chunks are submitted at a time, each with a number below it that no other of them has, and as
    many more wait that were prepared by `help` here, while nothing else was to be done."""
    items, pending, numbers, submitted = iter(items), deque(), itertools.cycle(range(ahead)), 0
    while True:
        with _clear_end():
            while submitted < ahead and (chunk := _chunk(items)):
                pending.append((chunk, submit(next(numbers), _images(chunk)), 1))
                submitted += 1
            if not pending:
                return
            if help and not pending[0][1].done() and len(pending) < 2 * ahead and (chunk := _chunk(items)):
                pending.append((chunk, _finished(help(_images(chunk))), 0))
                continue
            chunk, future, was_submitted = pending.popleft()
            pictures = receive(future.result())
        yield from zip(chunk, pictures, strict=True)
        submitted -= was_submitted


def _seen_here(found: Iterator[tuple[Item, Picture | str]], work: Work) -> Iterator[tuple[Item, Picture | str]]:
    """The same, once this machine finds bad what another did, which may only lack the file."""
    for item, picture in found:
        if isinstance(picture, str):
            (here,) = work(_images([item]))
            if here != picture:
                raise UserError(
                    f"a worker finds {item.id} bad ({picture}), this machine does not: let every worker see the same "
                    "files at the same paths; the same command then goes on after the last whole shard"
                )
        yield item, picture


def _finished(result: object) -> Future:
    future: Future = Future()
    future.set_result(result)
    return future


def _chunk(items: Iterator[Item]) -> list[Item]:
    return list(itertools.islice(items, CHUNK))


def _images(chunk: list[Item]) -> list:
    """Paths as text, which is sent in a tenth of the time."""
    return [str(item.image) if isinstance(item.image, Path) else item.image for item in chunk]


@contextmanager
def _clear_end() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise UserError(
            "a worker process was ended from outside, perhaps for want of memory; "
            "run the same command again with fewer workers, it goes on after the last whole shard"
        ) from error
    except CancelledError as error:
        raise UserError(
            "the machines that prepare pictures went away; run the same command again when they are back, it goes on "
            "after the last whole shard"
        ) from error


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started within leave Ctrl-C to this one, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """A worker waits for work for ever, even if its parent was killed; so it watches the parent."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
