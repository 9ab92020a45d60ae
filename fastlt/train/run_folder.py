"""The folder of a run: config.yaml, environment.json, metrics.jsonl, TensorBoard events, checkpoints, summary.json.

bad-images.txt lists the training pictures that could not be shown; it is not there where all could.
"""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path

from fastlt import config as run_config
from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.files import disk_errors, write_text

PACKAGES = ("fastlt", "torch", "torchvision", "timm", "nvidia-dali-cuda120", "numpy", "h5py", "torchmetrics")


class RunFolder:
    """Paths of a run, and what is written there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.bad_images = path / "bad-images.txt"
        self.events = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.best = self.checkpoints / "best.pt"

    def check_free(self) -> None:
        """Raises UserError if the folder holds a run already."""
        if self.last.exists():
            raise UserError(
                f"{self.path} holds a run already; go on with fastlt train --resume --out {self.path}, "
                "or choose another --out"
            )

    def check_resumable(self) -> None:
        """Raises UserError if there is no run to go on with."""
        if not self.last.exists():
            raise UserError(f"{self.path} has no checkpoint to go on from; begin with fastlt train RECIPE --out")

    def check_finished(self) -> None:
        """Raises UserError if there is no run, or it has not come to its end."""
        self.evaluation_checkpoint()
        if not self.summary.exists():
            raise UserError(f"{self.path} is not finished; go on with fastlt train --resume --out {self.path}")

    def create(self, config: RunConfig, changes: list[str]) -> None:
        """Begins a run here. Raises UserError if the folder holds one already, or cannot be written."""
        self.check_free()
        with disk_errors(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.write_config(config, changes)
        write_text(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def write_config(self, config: RunConfig, changes: list[str]) -> None:
        head = "".join(f"# {line}\n" for line in changes)
        write_text(self.config, head + run_config.dump(config))

    def evaluation_checkpoint(self, which: str | None = None) -> Path:
        """The checkpoint to evaluate: `best` if a validation split chose one, otherwise `last`. Raises UserError."""
        path = self.checkpoints / f"{which}.pt" if which else self.best if self.best.exists() else self.last
        if not path.exists():
            hint = "it had no validation split to choose one" if self.last.exists() else "train first"
            raise UserError(f"no checkpoint {path}: {hint}")
        return path

    def append(self, row: dict) -> None:
        """One line of metrics.jsonl."""
        with disk_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Drops the metrics after `step` and the summary, which a resumed run writes again; a torn last line too."""
        with disk_errors(self.summary):
            self.summary.unlink(missing_ok=True)
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
            write_text(self.metrics, "".join(line + "\n" for line in kept))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")


def environment() -> dict:
    """Versions and machine, kept beside the results."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "versions": {name: _version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
