"""Lists of a JSON file that may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import ijson

from fastlt.data.sources._lines import shown
from fastlt.errors import UserError

_CHUNK = 1 << 16
_IN_LIST = 2  # depth of what stands right in a list: below the outermost object and the list itself
_KEPT = 4  # depth of the numbers of a box; outlines are deeper, and most of the file
_DEEPEST = 100

Taker = Callable[[object, int], None]


def read_lists(path: Path, takers: dict[str, Taker]) -> None:
    """Calls takers[key](value, number) for each value of the list `key` of the outermost object.

    The file is read once and only one value is held at a time. Numbers with a point are floats, others fit int64. What
    is nested deeper than lists of numbers in a value is left out: such lists and objects are empty. Raises UserError
    for a file that is missing or no JSON.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; give the file's path, relative to the folder of the data set")
    events, reader = ijson.sendable_list(), _Reader(takers)
    parser = ijson.basic_parse_coro(events, use_float=True)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                parser.send(chunk)
                reader.take(events)
                events.clear()
        parser.close()
        reader.take(events)
    except (ijson.JSONError, ValueError, OverflowError) as error:
        reason = shown(" ".join(str(error).partition("(right here)")[0].split()))
        raise UserError(f"{path} is no JSON, or cut short ({reason}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


class _Reader:
    """Puts values together from the events of a parser."""

    def __init__(self, takers: dict[str, Taker]):
        self._takers, self._taker = takers, None  # of the list that is being read
        self._numbers = dict.fromkeys(takers, 0)
        self._list, self._key = "", ""
        self._open: list[dict | list] = []  # the value that is being read, and what is open inside of it
        self._depth = 0

    def take(self, events: Iterable[tuple[str, object]]) -> None:
        left_out = self._depth > _KEPT
        for event, value in events:
            if left_out and event == "number":  # most events
                continue
            if event in ("start_map", "start_array"):
                self._begin({} if event == "start_map" else [])
                left_out = self._depth > _KEPT
            elif event in ("end_map", "end_array"):
                self._end()
                left_out = self._depth > _KEPT
            elif left_out:
                continue
            elif event == "map_key":
                self._key = value
            elif self._taker:
                self._put(value)

    def _begin(self, container: dict | list) -> None:
        if self._depth == 1 and isinstance(container, list):
            self._list, self._taker = self._key, self._takers.get(self._key)
        elif self._taker and _IN_LIST <= self._depth <= _KEPT:
            if self._depth > _IN_LIST:
                self._put(container)
            if self._depth < _KEPT:
                self._open.append(container)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels deep")

    def _end(self) -> None:
        self._depth -= 1
        if self._depth < _IN_LIST:
            self._taker = None
        elif self._taker and self._depth < _KEPT:
            value = self._open.pop()
            if self._depth == _IN_LIST:
                self._put(value)

    def _put(self, value: object) -> None:
        if self._depth == _IN_LIST:
            self._taker(value, self._numbers[self._list])
            self._numbers[self._list] += 1
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        else:
            self._open[-1][self._key] = value
