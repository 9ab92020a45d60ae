"""The steps to come, prepared ahead of their use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from fastlt.data.records import RecordBatch

T = TypeVar("T")


@dataclass(frozen=True)
class Fed:
    """What a graph makes one batch of: B pictures as they are stored, and what its recipe drew for them, by name."""

    pictures: RecordBatch
    drawn: dict[str, np.ndarray]


@dataclass(frozen=True)
class Prepared:
    """The host side of one step of a graph: what it is fed, and of the n rows of its streams where they stand and what
    they show.

    `bad`: the images that should have been shown in it and could not.
    """

    fed: Fed
    position: np.ndarray
    index: np.ndarray
    bad: set[int]


class Window(Generic[T]):
    """The steps prepared ahead of their use, bounded in number, by threads that each take the next one.

    They begin to prepare where fewer than `depth` steps from the oldest in use on are taken, and go on to `spare` more
    than that, so that no thread is woken for each of many small steps. Where the window is `helped`, whoever would wait
    in `get` takes the next one as well: waiting for another thread and being woken cost as much as a small step.
    """

    def __init__(
        self,
        prepare: Callable[[int], T],
        start: int,
        depth: int,
        name: str,
        spare: int = 0,
        threads: int = 1,
        helped: bool = False,
    ) -> None:
        """With several threads, or helped, `prepare` must be one that may be called for several steps at once; helped
        there need be no thread."""
        self._prepare, self._next, self._depth, self._spare = prepare, start, depth, spare
        self._oldest, self._helped = start, helped
        self._ready: dict[int, T] = {}
        self._failed: dict[int, BaseException] = {}
        self._open = True
        lock = threading.Lock()
        self._filled, self._used = threading.Condition(lock), threading.Condition(lock)
        self._threads = [threading.Thread(target=self._fill, name=name, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def get(self, step: int) -> T:
        """Waits until `step` is there. Raises what preparing it, or one before it, raised."""
        if self._helped:
            self._work(lambda: self._taken(instead_of=step))
        with self._filled:
            self._filled.wait_for(lambda: self._is_settled(step))
            if self._has_failed(step):
                raise self._failed[min(self._failed)]
            return self._ready[step]

    def drop_before(self, step: int) -> None:
        with self._used:
            for old in [number for number in self._ready if number < step]:
                del self._ready[old]
            self._oldest = step
            if self._next < self._oldest + self._depth:
                self._used.notify()

    def close(self) -> None:
        with self._used:
            self._open = False
            self._used.notify_all()
        for thread in self._threads:
            thread.join()

    def _fill(self) -> None:
        with contextlib.suppress(BaseException):  # it is kept for who asks
            self._work(self._taken)

    def _work(self, taken: Callable[[], int | None]) -> None:
        """Prepares one step after the other until none is taken."""
        try:
            while (step := taken()) is not None:
                self._make(step)
        except BaseException as error:  # Ctrl-C, at any place: nobody shall wait for the step that was in hand
            self._fail(self._oldest, error)
            raise

    def _make(self, step: int) -> None:
        try:
            prepared = self._prepare(step)
            with self._filled:
                self._ready[step] = prepared
                self._filled.notify_all()
        except Exception as error:  # handed to whoever asks for it in `get`
            self._fail(step, error)

    def _fail(self, step: int, error: BaseException) -> None:
        with self._used:
            self._open = False
            self._failed[step] = error
            self._filled.notify_all()
            self._used.notify_all()

    def _taken(self, instead_of: int | None = None) -> int | None:
        """The next step, once there is room for it; None at the end.

        Or, instead of waiting for a step: None when that is settled, or there is no room.
        """
        with self._used:
            full = self._next >= self._oldest + self._depth + self._spare
            if instead_of is not None and (full or self._is_settled(instead_of)):
                return None
            if full:
                self._used.wait_for(lambda: not self._open or self._next < self._oldest + self._depth)
            if not self._open:
                return None
            self._next += 1
            return self._next - 1

    def _is_settled(self, step: int) -> bool:
        return step in self._ready or self._has_failed(step)

    def _has_failed(self, step: int) -> bool:
        return any(failed <= step for failed in self._failed)


class Feed:
    """What a graph calls for the inputs of its batches, which it counts from 0."""

    def __init__(self, window: Window[list[Prepared]], graph: int, start: int) -> None:
        self.window, self.graph, self.start = window, graph, start

    def __call__(self, iteration: int) -> Fed:
        return self.window.get(self.start + iteration)[self.graph].fed
