"""Trains what the papers trained, and writes what came out beside what they report: docs/reproduction.md.

    python tools/reproduce.py --data FOLDER                          the preset for a CPU, some hours on two cores
    python tools/reproduce.py --data FOLDER --jobs 2                 the same, two parts side by side on a core each
    python tools/reproduce.py --data FOLDER --part corel5k           one part of it
    python tools/reproduce.py --data FOLDER --part corel5k --row ASL one row
    python tools/reproduce.py --preset reasons --data FOLDER         experiments on what does not come out as published
    python tools/reproduce.py --preset full --data FOLDER --plan     the papers' own settings: what would be run
    python tools/reproduce.py --page                                 write the page anew, train nothing

FOLDER holds the data, as folders or archives. The same command again goes on where it was stopped. Everything runs
through `fastlt build`, `fastlt sweep` and `fastlt virtual-examples`, whose commands are shown; runs lie in --out, and
what is kept of them in docs/reproduction/.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event, Lock

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]

from fastlt.bench.machine import usable_cores  # noqa: E402
from reproduction import keep, page  # noqa: E402
from reproduction.parts import DATA, PRESETS, Part  # noqa: E402
from reproduction.plan import planned, runs_of  # noqa: E402

DOCS = TOOLS.parent / "docs"
ENDINGS = ("", ".tar", ".tar.gz", ".tar.xz", ".zip")
_BUILDING = Lock()  # parts may be of the same data
_stopped = Event()  # by Ctrl-C: nothing begins any more


def main() -> int:
    asked = _arguments()
    parts = [part for part in PRESETS[asked.preset] if not asked.part or part.name in asked.part]
    if asked.plan:
        print(planned(parts))
        return 0
    failed = [] if asked.page else _not_whole(parts, asked)
    if page.write(PRESETS["cpu"], PRESETS["reasons"], DOCS):
        print(f"written: {DOCS / 'reproduction.md'}")
    if failed:
        print(
            f"not whole: {', '.join(failed)}; mend what is said above and give the same command again", file=sys.stderr
        )
    return bool(failed)


def _not_whole(parts: list[Part], asked: argparse.Namespace) -> list[str]:
    """Reproduces the parts; gives the names of those that failed."""
    reproduce, jobs = partial(_reproduce, asked=asked), min(asked.jobs, len(parts))
    if jobs <= 1:
        return [part.name for part in parts if not reproduce(part)]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // jobs)))
    parts = sorted(parts, key=runs_of, reverse=True)  # those of many runs shall not begin last
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return [part.name for part, whole in zip(parts, pool.map(reproduce, parts), strict=True) if not whole]
        except KeyboardInterrupt:  # the runs got it too
            _stopped.set()
            raise


def _reproduce(part: Part, asked: argparse.Namespace) -> bool:
    """Builds the data set if it is not there, trains what is not finished, and keeps the results."""
    data, out = asked.out / "data" / part.data, asked.out / part.name
    with _BUILDING:
        there = (data / "test" / "dataset.json").exists()
        if not there and not _build(part.data, asked.data, data):
            return False
    rows = [word for row in asked.row or () for word in ("--row", row)]
    whole = _fastlt("sweep", part.sweep, "--set", f"data.path={data}", "--out", str(out), *rows)
    for row in part.virtual_examples:
        run = keep.first_run(out, row)
        if run and not (run / "virtual_examples.json").exists():
            whole &= _fastlt("virtual-examples", str(run), "--temperatures", "1,3,6")
    if (out / "table.json").exists():
        keep.results(part, out, DOCS / "reproduction")
    return whole


def _build(name: str, folder: Path | None, out: Path) -> bool:
    data = DATA[name]
    places = [folder / f"{data.archive}{ending}" for ending in ENDINGS] if folder else []
    root = next((place for place in places if place.exists()), None)
    if root is None:
        print(f"{name} needs {data.archive} in the folder of --data, as a folder or an archive", file=sys.stderr)
        return False
    return _fastlt("build", data.source, "--root", str(root), "--out", str(out), *data.words)


def _fastlt(*arguments: str) -> bool:
    if _stopped.is_set():
        return False
    print(f"\n$ fastlt {shlex.join(arguments)}", flush=True)
    return subprocess.run([sys.executable, "-m", "fastlt", *arguments]).returncode == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--data", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"), help="folder of the runs")
    parser.add_argument("--part", action="append", help="a part of the preset; may be given again")
    parser.add_argument("--row", action="append", help="a row of one part; may be given again")
    parser.add_argument(
        "--jobs", type=int, default=1, help="parts side by side, each on its share of PyTorch's threads"
    )
    parser.add_argument("--page", action="store_true", help="write the page from what is kept, and train nothing")
    parser.add_argument("--plan", action="store_true", help="show what would be run, and train nothing")
    asked = parser.parse_args()
    if asked.jobs < 1:
        parser.error(f"--jobs {asked.jobs}: give at least 1")
    known = [part.name for part in PRESETS[asked.preset]]
    for name in asked.part or ():
        if name not in known:
            parser.error(f"preset {asked.preset} has no part {name}; it has {', '.join(known)}")
    if asked.row and len(asked.part or ()) != 1:
        parser.error("--row is of one part; name it with --part")
    return asked


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
