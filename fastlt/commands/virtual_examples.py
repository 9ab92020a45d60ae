"""The virtual examples that a teacher makes of its training images, kept in its run folder."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from fastlt import distributed
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.evaluate.virtual_examples import virtual_examples
from fastlt.files import write_atomically, write_text
from fastlt.report.plots import png
from fastlt.report.virtual_examples import temperature_rule, virtual_examples_plot, virtual_examples_table
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained


def examine_teacher(
    run: Path, temperatures: list[float], which: str | None, device: str | None, console: Console
) -> dict:
    """Writes virtual_examples.json and .png into the run; prints the table of groups and what the rule says."""
    with distributed.join(device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        trained = Trained.load(RunFolder(run), ranks, which)
        trained.precision.activate()
        with ShardSet(trained.config.data.path / "train") as records, trained.precision.autocast():
            _check(records, trained)
            tick = display.ticker("training images")
            found = virtual_examples(
                trained.method, records, trained.config, ranks, trained.data, sorted(set(temperatures)), tick
            )
        report = {"checkpoint": trained.checkpoint.name, "step": trained.step} | found.as_dict()
        if ranks.is_first:
            write_text(run / "virtual_examples.json", json.dumps(report, indent=2) + "\n")
            picture = png(virtual_examples_plot(found))
            write_atomically(run / "virtual_examples.png", lambda file: file.write(picture))
            console.print(virtual_examples_table(found))
            display.say(temperature_rule(found))
            display.say(f"kept in {run / 'virtual_examples.json'} and {run / 'virtual_examples.png'}")
        return report


def _check(records: ShardSet, trained: Trained) -> None:
    if records.manifest["fingerprint"] != trained.data.fingerprint:
        raise UserError(
            f"{records.folder} holds other training images than {trained.checkpoint} was trained on; put its data set "
            "back"
        )
