"""The steps to come, prepared by a thread ahead of their use."""

from __future__ import annotations

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
    """The steps prepared ahead of their use, filled by one thread and bounded in number.

    It begins to prepare where fewer than `depth` steps from the oldest in use on are there, and goes on to `spare` more
    than that, so that its thread is not woken for each of many small steps.
    """

    def __init__(self, prepare: Callable[[int], T], start: int, depth: int, name: str, spare: int = 0) -> None:
        self._prepare, self._next, self._depth, self._spare = prepare, start, depth, spare
        self._oldest = start
        self._ready: dict[int, T] = {}
        self._error: BaseException | None = None
        self._open = True
        lock = threading.Lock()
        self._filled, self._used = threading.Condition(lock), threading.Condition(lock)
        self._thread = threading.Thread(target=self._fill, name=name, daemon=True)
        self._thread.start()

    def get(self, step: int) -> T:
        """Waits until `step` is there. Raises what preparing it raised."""
        with self._filled:
            self._filled.wait_for(lambda: step in self._ready or self._error)
            if step in self._ready:
                return self._ready[step]
            raise self._error

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
            self._used.notify()
        self._thread.join()

    def _fill(self) -> None:
        try:
            while self._wait_for_room():
                prepared = self._prepare(self._next)
                with self._filled:
                    self._ready[self._next] = prepared
                    self._next += 1
                    self._filled.notify_all()
        except BaseException as error:  # handed to whoever waits in `get`
            with self._filled:
                self._error = error
                self._filled.notify_all()

    def _wait_for_room(self) -> bool:
        with self._used:
            if self._next >= self._oldest + self._depth + self._spare:
                self._used.wait_for(lambda: not self._open or self._next < self._oldest + self._depth)
            return self._open


class Feed:
    """What a graph calls for the inputs of its batches, which it counts from 0."""

    def __init__(self, window: Window[list[Prepared]], graph: int, start: int) -> None:
        self.window, self.graph, self.start = window, graph, start

    def __call__(self, iteration: int) -> Fed:
        return self.window.get(self.start + iteration)[self.graph].fed
