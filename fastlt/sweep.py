"""What a sweep is: one YAML file that names a recipe, what its rows change in it, and the seeds of each row.

    recipe: digits/dive
    seeds: [0, 1, 2]
    rows:
      - label: balanced softmax
        recipe: digits/bsce                         # instead of the sweep's
      - label: without power normalisation
        set: {method.power: 1}
      - label: with a teacher
        with_runs: {method.teacher: balanced softmax}  # the folder of that row's run of the same seed
        seeds: [0]                                  # instead of the sweep's
      - grid: {method.temperature: [1, 3, 6]}       # a row for each value, or for each combination of several keys
      - label: the same on mirrored pictures
        runs_of: balanced softmax                   # nothing is trained: the runs of that row are evaluated again
        flip: true
      - label: the same with thresholds             # of several labels: fitted on validation, kept in these runs
        runs_of: balanced softmax
        thresholds: grid                            # or all_scores

`metrics` names the columns of the table, those of `annotation_metrics` too. `published` names a table of published
results, shown beside the rows of the same label; those of `published_only` are shown though there is no such row.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError, model_validator

from fastlt import resources
from fastlt.config import Section
from fastlt.errors import UserError

Figures = dict[str, dict[str, float]]  # label -> metric -> percent


class Row(Section):
    label: str = ""
    recipe: str | None = None  # default: the sweep's
    set: dict[str, Any] = {}  # dotted key -> value
    grid: dict[str, list[Any]] = {}  # dotted key -> its values
    with_runs: dict[str, str] = {}  # dotted key -> label of a row before it; method.prior: whose prior is estimated
    seeds: tuple[int, ...] | None = None  # default: the sweep's, and for runs_of those of that row
    runs_of: str | None = None
    flip: bool = False
    thresholds: Literal["grid", "all_scores"] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Row:
        if not self.label and not self.grid:
            raise ValueError("a row needs a label, or a grid that names its rows")
        if self.runs_of and (self.recipe or self.set or self.grid or self.with_runs or self.seeds):
            raise ValueError("runs_of trains nothing; leave recipe, set, grid, with_runs and seeds out")
        if self.flip and not self.runs_of:
            raise ValueError("flip evaluates the runs_of another row; set train.evaluate_flip to train with it")
        if self.thresholds and not self.runs_of:
            raise ValueError("thresholds are fitted to the runs_of another row; name it")
        return self


class Sweep(Section):
    recipe: str
    seeds: tuple[int, ...] = (0,)
    set: dict[str, Any] = {}
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ()  # default: every fraction that is measured
    published: str | None = None
    published_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One line of the table: what is trained with every seed, or whose runs are evaluated again."""

    label: str
    recipe: str
    overrides: list[str]
    seeds: tuple[int, ...]
    with_runs: dict[str, str]
    runs_of: str | None = None
    flip: bool = False
    thresholds: str | None = None

    @property
    def folder(self) -> str:
        return re.sub(r"[^a-z0-9.=]+", "-", self.label.lower()).strip("-.") or "row"


def load(name: str) -> Sweep:
    """A sweep by its file or its name. Raises UserError for what is wrong in it."""
    values = _mapping(resources.sweep(name), f"sweep {name}")
    try:
        return Sweep.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        reason = problem.get("ctx", {}).get("error", problem["msg"])
        known = f"; known here: {', '.join((*Sweep.model_fields, 'and of a row', *Row.model_fields))}"
        raise UserError(
            f"sweep {name}: {place}: {reason}{known if problem['type'] == 'extra_forbidden' else ''}"
        ) from error


def variants(sweep: Sweep, overrides: Sequence[str] = ()) -> list[Variant]:
    """The rows with their grids written out; what a row sets counts more than `overrides` of the command.

    Raises UserError for two of one name, and for a row that needs the runs of none before it.
    """
    found: list[Variant] = []
    for row in sweep.rows:
        seeds = _seeds(row, sweep, {known.label: known for known in found if not known.runs_of})
        for label, chosen in _points(row):
            settings = [*_overrides(sweep.set), *overrides, *_overrides(row.set | chosen)]
            recipe = row.recipe or sweep.recipe
            found.append(Variant(label, recipe, settings, seeds, row.with_runs, row.runs_of, row.flip, row.thresholds))
    folders: dict[str, str] = {}
    for variant in found:
        if variant.folder in folders:
            other = folders[variant.folder]
            raise UserError(f"rows {other} and {variant.label} would share the folder {variant.folder}; rename one")
        folders[variant.folder] = variant.label
    return found


def _seeds(row: Row, sweep: Sweep, before: dict[str, Variant]) -> tuple[int, ...]:
    """Of a row whose needs are met by the rows before it that train."""
    needed = {"runs_of": row.runs_of} if row.runs_of else row.with_runs
    for what, label in needed.items():
        if label not in before:
            raise UserError(f"row {row.label}: {what} {label} is no row before it that trains")
    seeds = before[row.runs_of].seeds if row.runs_of else row.seeds or sweep.seeds
    for label in row.with_runs.values():
        if missing := set(seeds) - set(before[label].seeds):
            raise UserError(f"row {row.label}: {label} has no run of seed {min(missing)}; give it that seed too")
    return seeds


def _overrides(settings: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def published(sweep: Sweep) -> Figures:
    """The published results. Raises UserError if there are none of that name, or none for a row that needs some."""
    figures = _mapping(resources.figures(sweep.published), sweep.published) if sweep.published else {}
    for label in sweep.published_only:
        if label not in figures:
            raise UserError(f"published_only names {label}, of which {sweep.published} has nothing")
    return figures


def _points(row: Row) -> list[tuple[str, dict[str, Any]]]:
    if not row.grid:
        return [(row.label, {})]
    points = [dict(zip(row.grid, values, strict=True)) for values in itertools.product(*row.grid.values())]
    return [(", ".join([*filter(None, [row.label]), *map(_setting, point.items())]), point) for point in points]


def _setting(item: tuple[str, Any]) -> str:
    return f"{item[0].rpartition('.')[2]}={item[1]}"


def _mapping(text: str, what: str) -> dict:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise UserError(f"{what} is no valid YAML{where}") from error
    if not isinstance(values, dict):
        raise UserError(f"{what} holds no mapping of settings")
    return values
