"""build and verify, with their progress and their closing lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastlt.address import Address, located
from fastlt.data.build import BuildReport, build
from fastlt.data.item import Source
from fastlt.data.longtail import NAMES, SINGLE_LABEL, Recipe
from fastlt.data.partial import Hiding
from fastlt.data.pixel_statistics import pixel_statistics
from fastlt.data.shards import ShardSet
from fastlt.data.sources import open_source
from fastlt.data.verify import verify
from fastlt.errors import UserError
from fastlt.train.display import Display


def build_data_set(
    source_name: str,
    root: Path | Address | None,
    out: Path | Address,
    console: Console,
    *,
    recipe: str | None = None,
    imbalance: float | None = None,
    largest: int | None = None,
    ids: Path | None = None,
    hide: str | None = None,
    options: tuple[str, ...] = (),
    dask: str | None = None,
    **settings,
) -> dict:
    """Builds and says what came of it; returns the figures of each split."""
    given = dict(_option(text) for text in options)
    if out.resolve() in {path.resolve() for path in _read_folders(root, given)}:
        raise UserError(f"{out} is a folder that is read; build into another one")
    source = open_source(source_name, root, **given)
    for folder in getattr(source, "scanned", []):
        if isinstance(out, Path) and out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{out} lies in {folder}, where all that there is counts as pictures; build outside of it")
    chosen = _recipe(source, recipe, imbalance, largest, ids)
    hiding = Hiding.parse(hide) if hide else None
    with _cluster(dask, settings) as settings, _bars(console) as progress:
        report = build(source, out, chosen, hiding=hiding, progress=progress, **settings)
    for line in closing_lines(report):
        console.print(line, markup=False, soft_wrap=True)
    return {
        "out": str(out),
        "bad_images": len(report.bad),
        "splits": {name: {key: split[key] for key in ("records", "counts")} for name, split in report.splits.items()},
    }


@contextmanager
def _cluster(address: str | None, settings: dict) -> Iterator[dict]:
    """The settings, with the executor of the Dask cluster at `address` if one is named."""
    if address is None:
        yield settings
        return
    from fastlt.data.dask_cluster import cluster

    with cluster(address) as (executor, threads):
        yield {**settings, "executor": executor, "workers": settings.get("workers") or threads}


def _read_folders(root: Path | Address | None, options: dict) -> list[Path | Address]:
    also = options.get("also") or []
    return [*([root] if root else []), *map(located, map(str, also if isinstance(also, list) else [also]))]


def closing_lines(report: BuildReport) -> list[str]:
    lines = [f"warning: {line}" for line in report.warnings]
    for name, split in report.splits.items():
        counts = split["counts"]
        lines.append(
            f"{report.out / name}: {split['records']:,} images, {len(counts)} classes of {min(counts):,} to "
            f"{max(counts):,}, {len(split['shards'])} shards"
        )
    return lines


def verify_data_set(data: Path | Address, console: Console) -> dict:
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


def measure_pixels(data: Path, console: Console) -> dict:
    """Mean and standard deviation of the training pictures' pixels; prints them as settings of a run."""
    display = Display(console)
    with ShardSet(data / "train") as records:
        found = pixel_statistics(records, display.ticker("pixels of train"))
    display.say(f"pixels of train: {found.as_settings()}")
    return asdict(found)


def _recipe(
    source: Source, name: str | None, imbalance: float | None, largest: int | None, ids: Path | None
) -> Recipe | None:
    """The source's own recipe where nothing is said."""
    if name is None and ids is not None:
        name = "ids"
    if name is None and imbalance is None and largest is None:
        return None
    name = name or (source.default_recipe.name if source.default_recipe.name != "none" else "exponential")
    if name in SINGLE_LABEL and imbalance is None:
        raise UserError(f"recipe {name} needs --imbalance: the largest class over the smallest, such as 100")
    if name in NAMES and name not in SINGLE_LABEL and imbalance is not None:
        raise UserError(f"recipe {name} takes no imbalance; leave --imbalance out, or choose {', '.join(SINGLE_LABEL)}")
    if name == "ids" and ids is None:
        raise UserError("recipe ids needs --ids FILE: the ids of the images that stay, one a line")
    return Recipe(name, 1.0 if imbalance is None else imbalance, largest, _read_ids(ids) if ids else frozenset())


def _read_ids(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path} cannot be read: {reason}; give a text file with one id a line") from error
    found = frozenset(line.strip() for line in lines if line.strip())
    if not found:
        raise UserError(f"{path} names no id; give a text file with one id a line")
    return found


def _option(text: str) -> tuple[str, object]:
    """Lists in brackets, numbers and true or false as YAML has them; all else is text as it stands."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--option {text}: write it as key=value")
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError as error:
        if value[:1] in "[{":
            raise UserError(f"--option {text}: {value} is no YAML value") from error
        return key, value
    if found in (None, ""):
        return key, None if value.lower() in ("null", "~") else value
    return key, value if isinstance(found, list | dict) and value[0] not in "[{" else found


@contextmanager
def _bars(console: Console) -> Iterator:
    """A bar for each split on a terminal, a line at each quarter elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        tasks: dict[str, int] = {}
        drawn = [0.0]  # when last

        def progress(split: str, done: int, total: int) -> None:
            if not console.is_terminal:
                if done == total or 4 * done // total > 4 * (done - 1) // total:
                    console.print(f"{split}: {done:,} of {total:,}", markup=False)
                return
            if split not in tasks:
                tasks[split] = shown.add_task(split, total=total)
            if done == total or time.monotonic() - drawn[0] >= 0.1:  # to draw costs more than a picture
                drawn[0] = time.monotonic()
                shown.update(tasks[split], completed=done)

        yield progress
