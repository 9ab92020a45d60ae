"""What is kept of the runs of a part: its table, the summary of each run, what its teachers give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fastlt.files import write_text
from reproduction.parts import Part

VIRTUAL_EXAMPLES = "-virtual-examples.json"
LISTED_CLASSES = 20  # up to which a summary keeps the result of each class


def first_run(out: Path, label: str) -> Path | None:
    """The folder of a row's first finished run."""
    rows = _read(out / "table.json")["rows"] if (out / "table.json").exists() else []
    return next((Path(row["runs"][0]["folder"]) for row in rows if row["label"] == label and row["runs"]), None)


def results(part: Part, out: Path, docs: Path) -> None:
    """Writes docs/PART/table.json, and for each run ROW-seed-N.json; paths of the machine are left out."""
    folder, table = docs / part.name, _read(out / "table.json")
    for row in table["rows"]:
        row["runs"] = [_run(run, folder) for run in row["runs"]]
        row["set"] = [setting for setting in row.get("set", []) if not setting.startswith("data.path=")]
    for label in part.virtual_examples:
        run = first_run(out, label)
        if run and (run / "virtual_examples.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(run / "virtual_examples.json", folder / f"{run.parent.name}{VIRTUAL_EXAMPLES}")
    write_text(folder / "table.json", json.dumps(table, indent=1) + "\n")


def _run(run: dict, folder: Path) -> dict:
    """{seed, summary, metrics, parts, minutes}; its summary is written beside the table."""
    path = Path(run["folder"])
    summary = _read(path / "summary.json")
    if len(summary["per_class"]) > LISTED_CLASSES:
        del summary["per_class"]
    summary["environment"] = _read(path / "environment.json")
    name = f"{path.parent.name}-{path.name}.json"
    write_text(folder / name, json.dumps(summary, indent=1) + "\n")
    minutes = summary["epochs"] * summary["training_images"] / summary["images_per_second"] / 60
    return {name: run[name] for name in ("seed", "metrics", "parts")} | {"summary": name, "minutes": round(minutes, 1)}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
