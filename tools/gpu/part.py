"""What every part is made of: its settings, and the file in which it says what it found."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Skip(Exception):
    """The part cannot run here; the message says why."""


@dataclass
class Part:
    """Its settings, and what it has found so far."""

    device: str  # "cuda" or "cpu"
    quick: bool
    folder: Path  # its own, for what it writes
    details: dict = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def require_kernels(self) -> None:
        """Plain PyTorch serves where the library has none, and would pass every comparison."""
        import torch

        from fastlt.ops import library

        if self.on_gpu and library.kernels_for(torch.empty(0, device="cuda")) is None:
            raise RuntimeError(f"the library has no CUDA kernels: {library.description()}")
        self.details["library"] = library.description()

    def attempt(self, name: str, check: Callable[[], None]) -> None:
        """One of many checks: a failure is kept, and the others still run."""
        try:
            check()
        except Exception as error:  # whatever it is, it belongs into the report
            traceback.print_exc()
            said = str(error).strip().partition("\n")[0]
            self.failures.append(f"{name}: {type(error).__name__}: {said}")


def main(run: Callable[[Part], None]) -> None:
    """The program of a part. It ends with status 0 however the checks came out: the result file says it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    folder = options.result.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    part = Part(options.device, options.quick, folder)
    status, reason = "passed", ""
    try:
        run(part)
    except Skip as skip:
        status, reason = "skipped", str(skip)
    except Exception as error:
        traceback.print_exc()
        status, reason = "failed", f"{type(error).__name__}: {error}"
    if part.failures:
        status, reason = "failed", reason or f"{len(part.failures)} checks failed"
    found = {"status": status, "reason": reason, "failures": part.failures, "details": part.details}
    options.result.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(0)
