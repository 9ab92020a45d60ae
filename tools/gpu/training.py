"""`fastlt train` on the bundled digits, stopped and resumed, in the precisions that a GPU is used with."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

from .part import Part, main


def run(part: Part) -> None:
    data = part.folder / "digits"
    _fastlt("build", "digits", "--out", str(data), "--workers", "2", "--overwrite")
    rows = part.details["runs"] = []
    for precision in ("bf16", "fp16") if part.on_gpu else ("fp32",):
        part.attempt(precision, lambda precision=precision: rows.append(_trained(part, data, precision)))


def _trained(part: Part, data: Path, precision: str) -> dict:
    first, last = (4, 6) if part.quick else (200, 300)
    folder = part.folder / precision
    shutil.rmtree(folder, ignore_errors=True)
    settings = [f"data.path={data}", f"train.precision={precision}", f"train.steps={first}", "train.log_every=2"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    device = ("--device", part.device)
    _fastlt("train", "digits/erm", "--out", str(folder), *overrides, *device)
    _fastlt("train", "--resume", "--out", str(folder), "--set", f"train.steps={last}", *device)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = {row["step"]: row["terms"]["loss"] for row in map(json.loads, lines) if "terms" in row}
    summary = json.loads((folder / "summary.json").read_text())
    if max(losses) != last or not all(map(math.isfinite, losses.values())):
        raise AssertionError(f"it shall end at step {last} with finite losses, but they are {losses}")
    return {
        "precision": precision,
        "steps": last,
        "loss, first and last": f"{losses[min(losses)]:.3f}, {losses[last]:.3f}",
        "images per second": round(summary["images_per_second"]),
        "metrics": summary["metrics"],
    }


def _fastlt(*arguments: str) -> None:
    command = [sys.executable, "-m", "fastlt", *arguments]
    print("+", *command, flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(run)
