"""The report: one JSON file with everything, one page to read."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from fastlt.train.run_folder import environment


def one_line(result: dict) -> str:
    failures = "".join(f"\n{'':13}{failure}" for failure in result["failures"][:10])
    reason = f": {result['reason']}" if result["reason"] else ""
    return f"{result['status']} in {result['seconds']} s{reason}{failures}"


def write(out: Path, device: str, results: list[dict]) -> None:
    machine = describe_machine(device)
    everything = {"written": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine}
    (out / "gpu-check.json").write_text(json.dumps(everything | {"parts": results}, indent=1) + "\n")
    (out / "gpu-check.md").write_text(_page(machine, results))


def describe_machine(device: str) -> dict:
    import torch

    from fastlt.ops import library

    found = environment() | {"device": device, "library": library.description(), "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        found["capability"] = [torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())]
        found["driver"] = _driver()
    return found


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.splitlines()[0].strip() if said.strip() else None


def _page(machine: dict, results: list[dict]) -> str:
    lines = ["# GPU check", ""]
    if machine["device"] == "cpu":
        lines += ["**A dry run on the CPU: it tries the tool, and says nothing about a GPU.**", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "| part | what it proves | result | seconds |", "|---|---|---|---|"]
    for result in results:
        shown = f"{result['status']}{': ' + result['reason'] if result['reason'] else ''}".replace("|", "/")
        lines.append(f"| {result['part']} | {result['proves']} | {shown} | {result['seconds']} |")
    for result in results:
        lines += ["", f"## {result['part']}", ""]
        lines += [f"- FAILED {failure}" for failure in result["failures"]]
        for name, value in result["details"].items():
            lines += _detail(name, value)
    return "\n".join(lines) + "\n"


def _detail(name: str, value) -> list[str]:
    """A list of like records becomes a table."""
    if not (isinstance(value, list) and value and all(isinstance(row, dict) for row in value)):
        return [f"- {name}: {value}"]
    columns = list(dict.fromkeys(key for row in value for key in row))
    lines = ["", f"{name}:", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in value)]
