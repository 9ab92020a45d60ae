"""Building: encoded pictures passed through, against writing the same files by h5py and by WebDataset; and re-encoded,
against one process with Pillow and against FFCV's writer with as many processes as ours.

Every contestant reads the files and leaves its output synced to disk; `flat` copies them into one file, and is the
limit that the machine sets to a single process; `disk` writes as many bytes from memory, `memory` copies them. Ours has
as many processes as there are cores, and the time that they take to start counts.
"""

from __future__ import annotations

import importlib.util
import io
import os
import statistics
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from fastlt.bench.encoders import ffcv_missing, write_by_ffcv, write_by_pillow
from fastlt.bench.limits import copy_in_memory, write_to_disk
from fastlt.bench.photos import photo_set
from fastlt.bench.timing import rates_in_turn

from fastlt.data.build import build
from fastlt.data.item import Item
from fastlt.data.longtail import Recipe

LEAST = 16_384  # pictures a turn, files being taken again under another name; fewer where every one is decoded
DECODED = LEAST // 4
ROUNDS, QUALITY, LONGEST = 5, 90, 512
ABSENT = "not installed"


class Files:
    """Files as a source; all of one class."""

    name, classes, multi_label = "files", ["picture"], False
    splits, default_val, default_recipe = ("train",), 0.0, Recipe()

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def items(self, split: str) -> Iterator[Item]:
        return (Item(f"{number:06d}", path, (0,)) for number, path in enumerate(self.paths))

    def describe(self) -> dict:
        return {"name": self.name}


def cases(data: Path | None) -> list[dict]:
    """Pictures per second, and `vs_x`: ours over the rate of x, the median over rounds."""
    with photo_set(data) as (_, files), TemporaryDirectory(dir=Path.cwd()) as folder:
        paths = (files * -(-LEAST // len(files)))[: max(LEAST, len(files))]
        return [*_passed_through(paths, Path(folder)), _encoded_anew(paths[:LEAST], Path(folder))]


def summary(found: list[dict]) -> dict:
    """images_per_second and vs, by what is done and how pictures are checked."""
    passed = {case["checks"]: case for case in found if case["name"] == "pass_through"}
    anew = next(case for case in found if case["name"] == "reencode")
    return {
        "images_per_second": {checks: case["images_per_second"] for checks, case in passed.items()},
        "vs": {
            "pass_through": {checks: _ratios(case) for checks, case in passed.items()},
            "reencode": _ratios(anew),
        },
    }


def _passed_through(paths: list[Path], folder: Path) -> list[dict]:
    peers = {"h5py_vlen": _h5py_vlen, "tar": _tar, "flat": _flat, "disk": _disk, "memory": _memory}
    if importlib.util.find_spec("webdataset"):
        peers["webdataset"] = _webdataset
    work = {
        "header": lambda: _build(paths, folder / "header", check="header"),
        "decode": lambda: _build(paths[:DECODED], folder / "decode", check="decode"),
    }
    work |= {name: lambda write=write, name=name: write(paths, folder / name) for name, write in peers.items()}
    rates = rates_in_turn(work, ROUNDS)
    beside = {"limit": round(statistics.median(rates["disk"]), 1)}
    absent = {} if "webdataset" in peers else {"vs_webdataset": ABSENT}
    return [
        _case("pass_through", checks, rates, checks, list(peers)) | beside | absent for checks in ("header", "decode")
    ]


def _encoded_anew(paths: list[Path], folder: Path) -> dict:
    """At the same size and quality."""
    peers, missing = {"pillow": write_by_pillow}, ffcv_missing()
    if not missing:
        peers["ffcv"] = write_by_ffcv
    work = {"ours": lambda: _build(paths, folder / "anew", quality=QUALITY, max_side=LONGEST)}
    work |= {name: lambda write=write, name=name: _anew(write, paths, folder / name) for name, write in peers.items()}
    absent = {"vs_ffcv": missing} if missing else {}
    return _case("reencode", "decode", rates_in_turn(work, ROUNDS), "ours", list(peers)) | absent


def _anew(write: Callable[..., None], paths: list[Path], out: Path) -> int:
    write(paths, out, LONGEST, QUALITY)
    return _synced(out, len(paths))


def _build(paths: list[Path], out: Path, **settings) -> int:
    build(Files(paths), out, overwrite=True, **settings)
    (out / "train" / "dataset.json").unlink()  # the next turn begins anew
    return len(paths)


def _case(name: str, checks: str, rates: dict, ours: str, peers: list[str]) -> dict:
    ratios = {
        f"vs_{peer}": round(statistics.median(a / b for a, b in zip(rates[ours], rates[peer], strict=True)), 2)
        for peer in peers
    }
    rate = round(statistics.median(rates[ours]), 1)
    samples = {contestant: [round(one, 1) for one in rates[contestant]] for contestant in (ours, *peers)}
    return {"name": name, "checks": checks, "images_per_second": rate, **ratios, "samples": samples}


def _ratios(case: dict) -> dict:
    return {name.removeprefix("vs_"): value for name, value in case.items() if name.startswith("vs_")}


def _h5py_vlen(paths: list[Path], out: Path) -> int:
    with h5py.File(out, "w") as file:
        pictures = file.create_dataset("pictures", (len(paths),), h5py.vlen_dtype(np.uint8))
        labels = file.create_dataset("labels", (len(paths),), np.int64)
        for number, path in enumerate(paths):
            pictures[number] = np.frombuffer(path.read_bytes(), np.uint8)
            labels[number] = 0
    return _synced(out, len(paths))


def _tar(paths: list[Path], out: Path) -> int:
    """What WebDataset reads, written by the standard library."""
    with tarfile.open(out, "w") as archive:
        for number, path in enumerate(paths):
            for suffix, data in (("jpg", path.read_bytes()), ("cls", b"0")):
                entry = tarfile.TarInfo(f"{number:06d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return _synced(out, len(paths))


def _webdataset(paths: list[Path], out: Path) -> int:
    import webdataset

    with webdataset.TarWriter(str(out)) as archive:
        for number, path in enumerate(paths):
            archive.write({"__key__": f"{number:06d}", "jpg": path.read_bytes(), "cls": 0})
    return _synced(out, len(paths))


def _flat(paths: list[Path], out: Path) -> int:
    """The least there is to do."""
    with open(out, "wb") as file:
        for path in paths:
            file.write(path.read_bytes())
    return _synced(out, len(paths))


def _disk(paths: list[Path], out: Path) -> int:
    """As many bytes, from memory to the disk: its bandwidth."""
    write_to_disk(sum(path.stat().st_size for path in paths), out)
    return len(paths)


def _memory(paths: list[Path], out: Path) -> int:
    """As many bytes copied in memory: its bandwidth."""
    copy_in_memory(sum(path.stat().st_size for path in paths))
    return len(paths)


def _synced(path: Path, count: int) -> int:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    return count
