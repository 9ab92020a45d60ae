"""Whether HDF5 tools see in a shard what fastlt reads there by plain reads at the manifest's places.

A crafted file can crash libhdf5 or keep it busy for ever, so it is opened by a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from fastlt.data import layout

SECONDS = 60  # for the structure of one shard: a crafted one can be a loop
MEMORY = 16 << 30  # bytes of address space: a crafted header can ask for any amount
CODE = "from fastlt.data.hdf5_check import answer; answer()"


def hdf5_faults(folder: Path, manifest: dict) -> list[str]:
    """One line for each shard of a set whose HDF5 structure says something else than its manifest; reads no array."""
    common = {key: manifest[key] for key in ("encoding", "label_default")}
    files = [str((folder / shard["file"]).absolute()) for shard in manifest["shards"]]
    asked = [{"file": f, "arrays": s["arrays"], **common} for f, s in zip(files, manifest["shards"], strict=True)]
    answers, ended = _ask(json.dumps(asked))
    lines = [f"{file}: {fault}" for file, fault in zip(files, answers, strict=False) if fault]
    if len(answers) < len(files):
        lines.append(f"{files[len(answers)]}: libhdf5 cannot open it ({ended})")
    return lines


def answer() -> None:
    """For each file asked on standard input, a line of JSON: what is wrong, or null."""
    asked = json.load(sys.stdin)
    import h5py

    _limit_memory()
    for shard in asked:
        if hasattr(signal, "alarm"):  # not on Windows
            signal.alarm(SECONDS)  # ends this process
        try:
            with h5py.File(shard["file"], "r", locking=False) as file:
                fault = _fault(file, shard)
        except Exception as error:  # h5py raises whatever a crafted file leads it to
            fault = " ".join(f"no HDF5 file that can be read ({type(error).__name__}: {error})".split())
        print(json.dumps(fault), flush=True)


def _ask(question: str) -> tuple[list[str | None], str]:
    """What another process answered, and how it ended."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", CODE], input=question.encode(), env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    answers = [json.loads(line) for line in ran.stdout.split(b"\n")[:-1]]
    return answers, f"its process ended with status {ran.returncode}"


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most), most))


def _fault(file, shard: dict) -> str | None:
    """Checks links before what they lead to, so that no other file is opened."""
    import h5py

    wanted = {"format": layout.FORMAT, "version": layout.VERSION}
    wanted |= {key: shard[key] for key in ("encoding", "label_default")}
    for name in sorted({*file, *shard["arrays"]}):
        if name not in shard["arrays"]:
            return f"its HDF5 structure holds {name!a}, which no shard has"
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            return f"its HDF5 array {name!r} is missing or a link to elsewhere"
        if not _is_stored_plainly(file, name, shard["arrays"][name]):
            return f"its HDF5 array {name!r} is not the one that its manifest describes"
    if {*file.attrs} != {*wanted} or any(file.attrs[key] != value for key, value in wanted.items()):
        return "its HDF5 attributes are not those of its manifest"
    return None


def _is_stored_plainly(file, name: str, place: dict) -> bool:
    """Whether an array is one unfiltered run of bytes in this very file, at its place."""
    import h5py
    import numpy as np

    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != (place["length"],):
        return False
    if name == layout.IDS:
        stored = h5py.check_string_dtype(dataset.dtype)
        same_type = stored is not None and tuple(stored) == ("utf-8", place["width"])
    else:
        same_type = dataset.dtype == np.dtype(layout.ARRAYS.get(name, "u1"))
    options = dataset.id.get_create_plist()
    plain = options.get_layout() == h5py.h5d.CONTIGUOUS and options.get_nfilters() == options.get_external_count() == 0
    return same_type and plain and (place["length"] == 0 or dataset.id.get_offset() == place["at"])
