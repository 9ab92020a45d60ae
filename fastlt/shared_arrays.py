"""Arrays that all ranks of a machine read and none writes, once in its memory."""

from __future__ import annotations

import mmap
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastlt import distributed
from fastlt.errors import UserError

Empty = Callable[[int, type], np.ndarray]
Arrays = dict[str, np.ndarray]


def one_copy_a_host(make: Callable[[Empty], Arrays]) -> Arrays:
    """What `make(empty)` gives, made by one rank of each machine; the others see its memory, and may not write to it.

    All ranks call this together. `empty(count, type)` is what `make` takes its one-dimensional arrays from. The memory
    has no name and goes with the last process, however that ends. Raises UserError on every rank if one of them does.
    """
    if distributed.rank_count() == 1 or not hasattr(os, "memfd_create"):
        return make(np.empty)
    here = _machine()
    machines = distributed.gather(here)
    first = machines.index(here)
    room = _Room()
    try:
        arrays, told = _made(make, room) if distributed.own_rank() == first else ({}, None)
        answers = distributed.gather(told)
        if refused := next((answer for answer in answers if isinstance(answer, str)), None):
            raise UserError(refused)
        if distributed.own_rank() != first:
            arrays = _opened(answers[first], make)
        distributed.barrier()
    finally:
        room.close()
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _made(make: Callable[[Empty], Arrays], room: _Room) -> tuple[Arrays, list | str]:
    """The arrays, and where other ranks find them: (name, file, values, type) each; or what went wrong."""
    try:
        arrays = make(room.empty)
    except UserError as error:
        return {}, str(error)
    return arrays, [(name, room.files[id(array)], len(array), array.dtype.str) for name, array in arrays.items()]


def _opened(places: list[tuple[str, str, int, str]], make: Callable[[Empty], Arrays]) -> Arrays:
    """What another rank made; a copy of its own where the system does not let it look."""
    try:
        return {name: _mapped(file, count, kind) for name, file, count, kind in places}
    except OSError:
        return make(np.empty)


def _mapped(file: str, count: int, kind: str) -> np.ndarray:
    if not count:
        return np.empty(0, kind)
    handle = os.open(file, os.O_RDONLY)
    try:
        return np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), kind, count)
    finally:
        os.close(handle)


class _Room:
    """Memory without a name, which others may open by `files` until `close`; who mapped it keeps it."""

    def __init__(self) -> None:
        self.files: dict[int, str] = {}  # by the id of an array
        self._handles: list[int] = []

    def empty(self, count: int, kind: type) -> np.ndarray:
        """Raises MemoryError."""
        kind = np.dtype(kind)
        handle = os.memfd_create("fastlt")
        self._handles.append(handle)
        try:
            os.ftruncate(handle, max(count * kind.itemsize, 1))
            array = np.frombuffer(mmap.mmap(handle, 0), kind, count)
        except (OSError, ValueError, OverflowError) as error:
            raise MemoryError(str(error)) from error
        self.files[id(array)] = f"/proc/{os.getpid()}/fd/{handle}"
        return array

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.pop())


def _machine() -> str:
    """Equal only for processes that see one another; the name and the first namespace of two machines may be equal."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
        return f"{platform.node()} {boot} {namespace}"
    except OSError:
        return f"{platform.node()} {os.getpid()}"
