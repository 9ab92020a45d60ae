"""A sweep: every row with every seed, trained or gone on with, and the table that comes of it."""

from __future__ import annotations

import json
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from fastlt import class_prior
from fastlt import config as run_config
from fastlt import sweep as sweeps
from fastlt.commands.runs import SplitOfRun, evaluate_run, prior_of_runs, thresholds_of_run, train_run
from fastlt.errors import UserError
from fastlt.files import write_text
from fastlt.report import sweep_table
from fastlt.sweep import Sweep, Variant
from fastlt.train.run_folder import RunFolder

PRIOR = "method.prior"  # what this key is given is not the run itself, but what is estimated of it


@dataclass
class Runs:
    """Where the runs of a sweep lie, and which of them failed: row and seed -> why."""

    out: Path
    device: str | None
    console: Console
    failed: dict[str, str] = field(default_factory=dict)

    def folder(self, variant: Variant, seed: int) -> Path:
        return self.out / variant.folder / f"seed-{seed}"


def run_sweep(
    name: str, out: Path, overrides: list[str], device: str | None, console: Console, only: tuple[str, ...] = ()
) -> dict:
    """Runs what is not finished, writes OUT/table.json, table.md and curves.png, and prints the table.

    A row that fails is named and the others go on. `overrides` hold for all rows, but not against what
    a row sets itself. `only`: labels of the rows that are run; the others show what is finished of them.
    Raises UserError for a wrong sweep and, in the end, if a run failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a sweep is one process; start it without torchrun, or train its rows one by one")
    sweep = sweeps.load(name)
    variants, figures = sweeps.variants(sweep, overrides), sweeps.published(sweep)
    if unknown := set(only) - {variant.label for variant in variants}:
        raise UserError(f"sweep {name} has no row {min(unknown)}; it has {', '.join(v.label for v in variants)}")
    runs = Runs(out, device, console)
    rows = [
        _row(variant, variants, sweep, runs, finished_only=bool(only) and variant.label not in only)
        for variant in variants
    ]
    table = sweep_table.summarise(name, rows, figures, sweep.published_only) | {"failed": runs.failed}
    write_text(out / "table.json", json.dumps(table, indent=2) + "\n")
    write_text(out / "table.md", sweep_table.markdown(table))
    sweep_table.save_curves(rows, out / "curves.png")
    console.print(sweep_table.rich_table(table))
    console.print(f"table: {out / 'table.md'}, curves: {out / 'curves.png'}", markup=False, soft_wrap=True)
    if runs.failed:
        lines = "; ".join(f"{run}: {reason}" for run, reason in runs.failed.items())
        raise UserError(f"{len(runs.failed)} of {sum(len(v.seeds) for v in variants)} runs failed: {lines}")
    return table


def _row(variant: Variant, variants: list[Variant], sweep: Sweep, runs: Runs, finished_only: bool) -> dict:
    found = []
    for seed in variant.seeds:
        if finished_only and not _is_finished(variant, seed, runs):
            continue
        runs.console.print(f"\n{variant.label}, seed {seed}", style="bold", markup=False)
        try:
            found.append({"seed": seed} | _result(variant, variants, sweep, seed, runs))
        except Exception as error:  # whatever it is, the other rows go on
            folder = runs.folder(variant, seed)
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            runs.failed[f"{variant.label}, seed {seed}"] = reason.splitlines()[0]
            write_text(folder.with_suffix(".error.txt"), traceback.format_exc())
            runs.console.print(f"failed: {reason}", markup=False, soft_wrap=True)
    return {"label": variant.label, "recipe": variant.recipe, "set": variant.overrides, "runs": found}


def _is_finished(variant: Variant, seed: int, runs: Runs) -> bool:
    path = runs.folder(variant, seed)
    return (path / "metrics.json" if variant.runs_of else RunFolder(path).summary).exists()


def _result(variant: Variant, variants: list[Variant], sweep: Sweep, seed: int, runs: Runs) -> dict:
    """{"folder", "metrics", "parts"} of one run."""
    if not variant.runs_of:
        path = runs.folder(variant, seed)
        given = {key: _finished(label, variants, seed, runs) for key, label in variant.with_runs.items()}
        return {"folder": str(path)} | _kept(_trained(variant, given, seed, path, runs), sweep, variant)
    path = _finished(variant.runs_of, variants, seed, runs)
    file = runs.folder(variant, seed) / "metrics.json"
    if not file.exists():
        split = _read(RunFolder(path).summary)["split"]
        if variant.thresholds:
            validation = SplitOfRun(path, "val", device=runs.device)
            thresholds_of_run(validation, runs.console, all_scores=variant.thresholds == "all_scores")
        found = evaluate_run(SplitOfRun(path, split, device=runs.device), runs.console, variant.flip)
        write_text(file, json.dumps({"metrics": found, "parts": found.get("parts", {})}, indent=2) + "\n")
    return {"folder": str(path)} | _kept(_read(file), sweep, variant)


def _finished(label: str, variants: list[Variant], seed: int, runs: Runs) -> Path:
    """The finished run of a row. Raises UserError if there is none."""
    path = runs.folder(next(known for known in variants if known.label == label), seed)
    if not RunFolder(path).summary.exists():
        raise UserError(f"there is no finished run {path}")
    return path


def _trained(variant: Variant, given: dict[str, Path], seed: int, path: Path, runs: Runs) -> dict:
    """The summary of the run, trained with the runs it is `given` if it is not finished.

    Raises UserError if it had other settings.
    """
    folder = RunFolder(path)
    overrides = [*variant.overrides, f"seed={seed}", *(f"{key}={json.dumps(str(run))}" for key, run in given.items())]
    if folder.last.exists():
        _check_same(folder, variant, overrides)
    if folder.summary.exists():
        runs.console.print("finished already")
        return _read(folder.summary)
    if PRIOR in given and not (given[PRIOR] / class_prior.NAME).exists():
        prior_of_runs([given[PRIOR]], None, None, runs.device, runs.console)
    resume = folder.last.exists()
    train_run(None if resume else variant.recipe, path, [] if resume else overrides, resume, runs.device, runs.console)
    return _read(folder.summary)


def _check_same(folder: RunFolder, variant: Variant, overrides: list[str]) -> None:
    wanted, found = (
        run_config.load(*recipe)[0].model_dump(mode="json")
        for recipe in ((variant.recipe, overrides), (str(folder.config), []))
    )
    for line in run_config.changes(found, wanted):
        raise UserError(f"{folder.path} holds a run with other settings ({line}); remove it, or choose another --out")


def _kept(found: dict, sweep: Sweep, variant: Variant) -> dict:
    given = "fitted thresholds" if variant.thresholds else "threshold 0.5"
    return {
        "metrics": _columns(found["metrics"], sweep, given),
        "parts": {name: _columns(part, sweep, given) for name, part in found.get("parts", {}).items()},
    }


def _columns(metrics: dict, sweep: Sweep, given: str) -> dict:
    """What the sweep asks for, labels being `given` so; every fraction where it asks for nothing."""
    if not sweep.metrics:
        return {name: value for name, value in metrics.items() if isinstance(value, float)}
    known = metrics | metrics.get("annotation", {}).get(given, {})
    return {name: known[name] for name in sweep.metrics if name in known}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
