"""Reading and writing at an address: what fails in passing is tried again, all else ends in one line.

Which errors a storage raises is its library's own matter; so whatever it raises counts as passing but for what says
that a file is not there or that nobody may read it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from fastlt.address import Address
from fastlt.errors import UserError

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before it is tried again, and again
AT_FIRST = (0.2, 1.0)  # where nothing was read yet, the address is more likely wrong than the network bad
WRONG = 3  # times that wrong bytes may come in place of the same ones
SILENCE = 60  # seconds without a byte after which a connection counts as dead
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}  # of pyproject.toml
BUCKETS = ("s3", "s3a", "gs", "gcs")  # have no folders; to make one there is to make a bucket, perhaps by a slip


class Range(NamedTuple):
    """Bytes [start, end) of a file."""

    address: Address
    start: int
    end: int


class WrongBytes(Exception):
    """What came is, time and again, not what was written; `args[0]` says which of the asked ranges."""


def read(address: Address, start: int, end: int, pauses: Sequence[float] = PAUSES) -> bytes:
    """Bytes [start, end), fewer at the end of the file; all of it from a server that knows no ranges.

    Raises FileNotFoundError, and UserError for all else that lasts.
    """
    for pause in (*pauses, None):
        (found,) = _ask([Range(address, start, end)])
        if not isinstance(found, Exception):
            return found
        _wait(address, found, pause)
    raise AssertionError


def read_all(ranges: list[Range], is_right: Callable[[int, bytes], bool] = lambda number, data: True) -> list[bytes]:
    """All of the ranges, read side by side; each must be whole, and right as `is_right` (number, bytes) says.

    Raises WrongBytes, FileNotFoundError, and UserError for all else that lasts.
    """
    got: list[bytes | None] = [None] * len(ranges)
    missing, wrong = list(range(len(ranges))), [0] * len(ranges)
    for pause in (*PAUSES, None):
        fault: tuple[int, Exception] | None = None
        for number, found in zip(missing, _ask([ranges[i] for i in missing]), strict=True):
            problem = _problem(ranges[number], found)
            if problem is None and not is_right(number, found):
                wrong[number] += 1
                if wrong[number] == WRONG:
                    raise WrongBytes(number)
                problem = OSError("wrong bytes came")
            if problem is None:
                got[number] = found
            else:
                fault = number, problem
        missing = [number for number in missing if got[number] is None]
        if fault is None:
            return got
        _wait(ranges[fault[0]].address, fault[1], pause)
    raise AssertionError


def knows_ranges(address: Address) -> bool:
    """Whether the server gives parts of the file at `address`, which has more than one byte."""
    return len(read(address, 0, 1)) == 1


def size(address: Address) -> int | None:
    """Bytes of a file, where the storage says so."""
    filesystem, path = _reached(address)
    try:
        return filesystem.info(path).get("size")
    except Exception:  # whoever reads it will say what is wrong
        return None


def download(address: Address, begin: Callable[[], Callable[[bytes], None]]) -> None:
    """Gives what `begin` returns the whole file, piece by piece, in one request: for servers that know no ranges.

    After a cut it begins anew.
    """
    filesystem, path = _reached(address)
    for pause in (*PAUSES, None):
        try:
            filesystem.get_file(path, _Taker(begin()))
            return
        except Exception as error:
            _wait(address, error, pause)


def upload(local: str, address: Address) -> None:
    """Puts a file there. Raises UserError if the storage does not take it."""
    filesystem, path = _reached(address)
    for pause in (*PAUSES, None):
        try:
            if address.protocol not in BUCKETS:
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(local, path)
            return
        except NotImplementedError as error:
            raise UserError(f"{address} cannot be written: {address.protocol} only reads; choose another") from error
        except Exception as error:
            if pause is None or _is_final(error) or isinstance(error, FileNotFoundError):
                raise UserError(
                    f"{address} cannot be written: {_reason(error)}; see to it and run the same command again"
                ) from error
            time.sleep(pause)


def remove(address: Address) -> None:
    """Raises UserError if the file stays there."""
    filesystem, path = _reached(address)
    try:
        filesystem.rm_file(path)
    except FileNotFoundError:
        pass
    except Exception as error:
        raise UserError(f"{address} cannot be removed: {_reason(error)}; remove it yourself") from error


class _Taker:
    """A file to write to, as far as fsspec asks for one."""

    def __init__(self, take: Callable[[bytes], None]):
        self.write = take
        self.read = self.close = self.tell = lambda *_: None  # fsspec takes what has these for a file


def _ask(ranges: list[Range]) -> list[bytes | Exception]:
    filesystem, _ = _reached(ranges[0].address)
    paths = [filesystem._strip_protocol(r.address.text) for r in ranges]
    try:
        return filesystem.cat_ranges(paths, [r.start for r in ranges], [r.end for r in ranges], on_error="return")
    except Exception as error:  # of all of them alike
        return [error] * len(ranges)


def _problem(asked: Range, found: bytes | Exception) -> Exception | None:
    if isinstance(found, Exception):
        return found
    size = asked.end - asked.start
    return None if len(found) == size else OSError(f"{len(found)} bytes came where {size} were asked for")


def _wait(address: Address, error: Exception, pause: float | None) -> None:
    """Raises what cannot be mended by waiting, or where there is no more `pause`."""
    if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(str(address)) from error
    if isinstance(error, UserError):
        raise error
    if pause is None or _is_final(error):
        raise _unreadable(address, error) from error
    time.sleep(pause)


def _unreadable(address: Address, error: Exception) -> UserError:
    return UserError(
        f"{address} cannot be read: {_reason(error)}; look at address, network and access, and run the same again"
    )


def _is_final(error: Exception) -> bool:
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
    return refused or isinstance(error, PermissionError) or "Credentials" in type(error).__name__


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:300]


def _reached(address: Address) -> tuple:
    """The file system, and the path in it. Raises UserError if what reads it is not installed."""
    root = address.text[: address.text.find("/", address.text.find("://") + 3) + 1] or address.text
    filesystem = _filesystem(root, os.getpid())
    return filesystem, filesystem._strip_protocol(address.text)


@lru_cache
def _filesystem(root: str, process: int):
    """fsspec's for all addresses that begin so; another one in each process, for its thread does not outlive a fork."""
    import fsspec

    protocol = root.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(root, **_options(protocol))[0]
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        advice = f"pip install fastlt[{extra}]" if extra else f"install what it names ({error})"
        raise UserError(f"{root} cannot be read: what reads {protocol}:// is not installed; {advice}") from error
    except ValueError as error:
        raise UserError(
            f"{root} cannot be read: {_reason(error)}; give a folder, or an address that fsspec reads"
        ) from (error)


def _options(protocol: str) -> dict:
    """A slow link may take as long as it needs, as long as bytes come."""
    if EXTRAS.get(protocol) != "http":
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)}}
