"""build and verify, with their progress and their closing lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastlt.data.build import BuildReport, build
from fastlt.data.item import Source
from fastlt.data.longtail import Recipe
from fastlt.data.sources import open_source
from fastlt.data.verify import verify
from fastlt.errors import UserError


def build_data_set(
    source_name: str,
    root: Path | None,
    out: Path,
    recipe: str | None,
    imbalance: float | None,
    options: list[str],
    console: Console,
    **settings,
) -> dict:
    """Builds and says what came of it; returns the figures of each split."""
    source = open_source(source_name, root, **dict(_option(text) for text in options))
    with _bars(console) as progress:
        report = build(source, out, _recipe(source, recipe, imbalance), progress=progress, **settings)
    for line in closing_lines(report):
        console.print(line, markup=False, soft_wrap=True)
    return {
        "out": str(out),
        "bad_images": len(report.bad),
        "splits": {name: {key: split[key] for key in ("records", "counts")} for name, split in report.splits.items()},
    }


def closing_lines(report: BuildReport) -> list[str]:
    lines = [f"warning: {line}" for line in report.warnings]
    for name, split in report.splits.items():
        counts = split["counts"]
        lines.append(
            f"{report.out / name}: {split['records']:,} images, {len(counts)} classes of {min(counts):,} to "
            f"{max(counts):,}, {len(split['shards'])} shards"
        )
    return lines


def verify_data_set(data: Path, console: Console) -> dict:
    """Checks every byte and lists each fault."""
    with _bars(console) as progress:
        report = verify(data, progress)
    for problem in report.problems:
        console.print(problem, markup=False, soft_wrap=True)
    splits = ", ".join(report.splits)
    if not report.problems:
        line = f"{data}: {report.records:,} records of {splits}, {report.bytes:,} bytes: all as written"
        console.print(line, markup=False, soft_wrap=True)
    return asdict(report)


def _recipe(source: Source, name: str | None, imbalance: float | None) -> Recipe | None:
    """The source's own recipe where nothing is said."""
    if name is None and imbalance is None:
        return None
    name = name or (source.default_recipe.name if source.default_recipe.name != "none" else "exponential")
    if name == "none" and imbalance is not None:
        raise UserError("recipe none keeps every image; leave --imbalance out, or choose exponential or step")
    if name != "none" and imbalance is None:
        raise UserError(f"recipe {name} needs --imbalance: the largest class over the smallest, such as 100")
    return Recipe(name) if imbalance is None else Recipe(name, imbalance)


def _option(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--option {text}: write it as key=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--option {text}: {value} is no YAML value") from error


@contextmanager
def _bars(console: Console) -> Iterator:
    """A bar for each split on a terminal, a line at each quarter elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        tasks: dict[str, int] = {}

        def progress(split: str, done: int, total: int) -> None:
            if not console.is_terminal:
                if done == total or 4 * done // total > 4 * (done - 1) // total:
                    console.print(f"{split}: {done:,} of {total:,}", markup=False)
                return
            if split not in tasks:
                tasks[split] = shown.add_task(split, total=total)
            shown.update(tasks[split], completed=done)

        yield progress
