"""The workers of a Dask cluster in place of this machine's processes, once they are known to give the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import lru_cache, partial

from fastlt.errors import UserError

PACKAGES = (("fastlt", "fastlt"), ("Pillow", "PIL"), ("numpy", "numpy"), ("nvidia-dali-cuda120", "nvidia"))
# As text, for a worker may have nothing of fastlt, nor the scheduler, which unpacks what it passes on.
ASKED = (
    "(lambda find, versions: {name: next(iter(versions(name)), '') if find(module) else '' "
    f"for name, module in {PACKAGES!r}}})"
    "(__import__('importlib.util').util.find_spec, "
    "lambda name: [d.version for d in __import__('importlib.metadata').metadata.distributions(name=name)])"
)
UNPACKED = "__import__('pickle').loads(work)()"
RETRIES = 3  # of what fails on a worker
LOGGERS = ("distributed", "distributed.client", "distributed.gc")  # which Dask gives levels
SECONDS = 10  # until a scheduler that does not answer is given up


@contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor of the cluster whose scheduler is at `address` (tcp://HOST:8786), and how much it does at a time.

    What a worker had begun when it was lost, others do anew. Raises UserError if Dask is not installed, the cluster
    cannot be reached or has no workers, and, within the context too, if a worker has other packages than this machine
    or one piece of work loses worker after worker.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise UserError("--dask needs Dask: pip install fastlt[dask], here and on the workers") from error
    with _quiet():
        try:
            client = Client(address, timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"no Dask cluster answers at {address} ({reason}); start `dask scheduler` there, or mend the address"
            ) from error
        with contextlib.closing(client):
            threads = _check_workers(client, address)
            try:
                yield _Workers(client), threads
            except KilledWorker as error:
                raise UserError(
                    "one piece of work ended every worker that took it, perhaps for want of memory; give the workers "
                    "more and run the same command again, it goes on after the last whole shard"
                ) from error


@lru_cache
def packages() -> dict[str, str]:
    """The version of each package that decides the bytes of a set; "" where it is not installed."""
    return eval(ASKED)


def _check_workers(client, address: str) -> int:
    """The threads of all workers."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise UserError(f"the Dask cluster at {address} has no workers; start `dask worker {address}` on some machines")
    here = packages()
    for worker, found in client.run(eval, ASKED, on_error="return").items():
        if isinstance(found, Exception):
            raise UserError(f"worker {worker} cannot be asked what it has ({found}); look at its log")
        _require_equal(worker, found, here)
    return sum(worker["nthreads"] for worker in workers.values())


def _require_equal(worker: str, found: dict[str, str], here: dict[str, str]) -> None:
    for name, version in here.items():
        if not found[name] and version:
            raise UserError(f"worker {worker} has no {name}; install {name} {version} there, as on this machine")
        if found[name] != version:
            raise UserError(
                f"worker {worker} has {name} {found[name] or 'none'}, this machine {version or 'none'}, and bytes "
                "could differ; install the same on both"
            )


def _checked(here: dict[str, str], function: Callable, *args):
    """On a worker, which may have come after all were asked."""
    _require_equal(platform.node(), packages(), here)
    return function(*args)


class _Workers(Executor):
    """Dask's own executor waits for ever when the scheduler goes away; here its futures end as cancelled."""

    def __init__(self, client):
        self._client = client

    def submit(self, function: Callable, /, *args) -> Future:
        work = {"work": pickle.dumps(partial(_checked, packages(), function, *args))}
        there, here = self._client.submit(eval, UNPACKED, work, pure=False, retries=RETRIES), Future()
        there.add_done_callback(lambda done: _hand_over(done, here))
        return here


def _hand_over(there, here: Future) -> None:
    try:
        here.set_result(there.result())
    except (CancelledError, asyncio.CancelledError):
        here.set_exception(CancelledError())
    except ImportError as error:  # of a worker that came later, too
        here.set_exception(UserError(f"a worker cannot do the work ({error}); install there what this machine has"))
    except BaseException as error:
        here.set_exception(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask tells of every worker that comes and goes; what matters to the user ends in one line of ours."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
