"""Checks and times, on a machine with an NVIDIA GPU, what no other machine can. Reads nothing from the network.

    python tools/gpu_check.py --out gpu-check                     everything, about half an hour
    python tools/gpu_check.py --out gpu-check --parts graphs streams
    python tools/gpu_check.py --out /tmp/check --dry-run-cpu --quick    the same code on the CPU, to try the tool itself

Every part runs in a process of its own, so that one that crashes leaves the others. Writes OUT/gpu-check.json,
OUT/gpu-check.md and a log for each part. Exit status 0 if every part that ran passed, and at least one did.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]

from gpu import page  # noqa: E402

# What each part proves, and after how many seconds it is taken for hung.
PARTS = {
    "operators": ("the tests of tests/ops, on CUDA", 1800),
    "graphs": ("CUDA graphs: forward and backward captured, replayed with new values, equal to eager", 600),
    "streams": ("on streams of their own and on every GPU", 600),
    "sanitizer": ("compute-sanitizer: memcheck, racecheck, initcheck, synccheck", 3600),
    "pipelines": ("DALI's GPU graphs against the CPU ones", 900),
    "training": ("a short run in bf16 and in fp16, and its resumption", 900),
    "benchmarks": ("the losses against eager PyTorch and torch.compile, by device events", 1800),
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PIP_NO_INDEX": "1"}


@dataclass(frozen=True)
class Plan:
    device: str
    quick: bool
    out: Path

    def run(self, part: str) -> dict:
        """{part, proves, status, seconds, reason, failures, details, log} of one part."""
        proves, limit = PARTS[part]
        result, log = self.out / f"{part}.json", self.out / f"{part}.log"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", f"gpu.{part}", "--device", self.device, "--result", str(result)]
        command += ["--quick"] if self.quick else []
        begin = time.monotonic()
        with log.open("w") as written:
            ended = _ended(command, written, limit)
        found = {"part": part, "proves": proves, "seconds": round(time.monotonic() - begin, 1), "log": log.name}
        if ended == "" and result.exists():
            return found | json.loads(result.read_text())
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        reason = ended or "it ended without a result"
        return found | {"status": "failed", "reason": ": ".join([reason, *last]), "failures": [], "details": {}}


def _ended(command: list[str], log, limit: float) -> str:
    """Runs it; "" if it ended well, otherwise how it ended."""
    paths = [str(TOOLS), str(TOOLS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **OFFLINE, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return f"no end after {limit} s"
    if ended.returncode < 0:
        return f"killed by signal {-ended.returncode}"
    return f"exit status {ended.returncode}" if ended.returncode else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few cases of each part")
    parser.add_argument("--dry-run-cpu", action="store_true", help="what can run on the CPU, through the same code")
    options = parser.parse_args(arguments)

    import torch

    if not options.dry_run_cpu and not torch.cuda.is_available():
        print(f"no NVIDIA GPU that torch {torch.__version__} can use; --dry-run-cpu tries the tool without one")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    plan = Plan("cpu" if options.dry_run_cpu else "cuda", options.quick, options.out.resolve())
    results = []
    for part in options.parts:
        print(f"{part:11} {PARTS[part][0]} ...", flush=True)
        results.append(plan.run(part))
        print(f"{'':11} {page.one_line(results[-1])}", flush=True)
        page.write(options.out, plan.device, results)  # after each part: what is known stays known
    ran = [result["status"] for result in results if result["status"] != "skipped"]
    print(f"written: {options.out / 'gpu-check.json'}, {options.out / 'gpu-check.md'}")
    return 0 if ran and set(ran) == {"passed"} else 1


if __name__ == "__main__":
    raise SystemExit(main())
