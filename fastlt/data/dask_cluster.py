"""The workers of a Dask cluster in place of this machine's processes, once they are known to give the same bytes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from fastlt.errors import UserError

PACKAGES = ("fastlt", "Pillow", "numpy", "nvidia-dali-cuda120")  # that decide the bytes of a set
SECONDS = 10  # until a scheduler that does not answer is given up


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """An executor of the cluster whose scheduler is at `address` (tcp://HOST:8786).

    Raises UserError if Dask is not installed, the cluster cannot be reached or has no workers, and if a worker has other
    packages than this machine.
    """
    try:
        from distributed import Client
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
            _check_workers(client, address)
            with client.get_executor(pure=False, retries=3) as executor:
                yield executor


def packages() -> dict[str, str]:
    """Python and each package that decides the bytes of a set, with its version; "" where it is not installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _check_workers(client, address: str) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise UserError(f"the Dask cluster at {address} has no workers; start `dask worker {address}` on some machines")
    here = packages()
    for worker, found in client.run(_packages_there, PACKAGES, on_error="return").items():
        if isinstance(found, Exception):
            raise UserError(f"worker {worker} cannot be asked what it has ({found}); look at its log")
        for name in ("fastlt", *PACKAGES[1:]):
            if not found[name] and here[name]:
                raise UserError(f"worker {worker} has no {name}; install {name} {here[name]} there")
            if found[name] != here[name]:
                raise UserError(
                    f"worker {worker} has {name} {found[name]}, this machine {here[name] or 'none'}; bytes could differ: "
                    "install the same on both"
                )


def _packages_there(names: tuple[str, ...]) -> dict[str, str]:
    """`packages` for a worker that may have none of fastlt: it is sent by value."""
    import importlib.metadata
    import importlib.util

    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    if importlib.util.find_spec("fastlt") is None:
        found["fastlt"] = ""
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask tells of every worker that comes and goes; what matters to the user ends in one line of ours."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
