"""A run from its settings to its report."""

from __future__ import annotations

import json

import torch
from rich.console import Console

from fastlt import distributed, heap
from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.files import write_text
from fastlt.report.page import write_page
from fastlt.report.tables import annotation_table, attributes_table, results_table
from fastlt.train.display import Display, headline, headlines
from fastlt.train.interrupt import Interrupted
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained
from fastlt.train.trainer import train


def train_config(
    config: RunConfig, changes: list[str], folder: RunFolder, resume: bool, device: str | None, console: Console
) -> dict:
    """Trains, evaluates the chosen checkpoint, writes summary.json and report.html; returns the summary."""
    with distributed.join(device) as ranks:
        if ranks.device.type == "cpu":
            heap.keep_freed_memory()
        display = Display(console, quiet=not ranks.is_first)
        for line in changes:
            display.say(f"  {line}")
        try:
            summary = train(config, folder, ranks, resume, display, changes)
        except Interrupted as stopped:
            display.say(f"{stopped}; go on with: fastlt train --resume --out {folder.path}")
            raise KeyboardInterrupt from None
        except torch.OutOfMemoryError as error:
            line = str(error).partition(". ")[0]
            raise UserError(f"{line}; lower train.batch or raise train.accumulate") from error
        return _finish(folder, summary, ranks, display)


def _finish(folder: RunFolder, summary: dict, ranks: distributed.Ranks, display: Display) -> dict:
    """Measures the chosen checkpoint on the test split, or on validation if there is no test."""
    trained = Trained.load(folder, ranks)
    split = next((s for s in ("test", "val") if (trained.config.data.path / s / "dataset.json").exists()), None)
    found = trained.measure(split, tick=display.ticker(split)) if split else {}
    summary = summary | {"checkpoint": trained.checkpoint.name, "split": split, "metrics": headline(found)}
    summary["parts"] = {name: headline(part) for name, part in found.get("parts", {}).items()}
    if ranks.is_first:
        write_text(folder.summary, json.dumps(summary | {"per_class": found.get("per_class", [])}, indent=2) + "\n")
        write_page(folder, summary, found)
        if found:
            title = f"{folder.path} ({trained.checkpoint.name})"
            display.console.print(results_table(headlines(split, found), title))
        if found.get("annotation"):
            display.console.print(annotation_table(found["annotation"], "which labels are given"))
        if found.get("attributes"):
            display.console.print(attributes_table(found["attributes"], "attributes, where they are known"))
        display.say(f"report: {folder.report}")
    distributed.barrier()
    return summary
