"""What a preset would run, and how long that is on a machine that trains so many images a second."""

from __future__ import annotations

from fastlt import config as run_config
from fastlt import sweep
from reproduction.parts import DATA, Part

AT = 1_000  # images a second that the hours stand for


def planned(parts: list[Part]) -> str:
    """Commands, runs and images of each part. The hours are no measurement: images over AT a second."""
    lines = []
    for part in parts:
        data = DATA[part.data]
        rows = _trained(part)
        images = sum(_epochs(row.recipe, row.overrides) * len(row.seeds) for row in rows) * data.images
        lines += [
            part.title,
            f"  fastlt build {data.source} --root {data.archive} --out {part.data} {data.options}",
            f"  fastlt sweep {part.sweep} --set data.path={part.data} --out {part.name}",
            f"  {runs_of(part)} runs, {images / 1e6:.1f} million images: {images / AT / 3600:.1f} h at {AT:,} images/s",
        ]
    return "\n".join(lines)


def runs_of(part: Part) -> int:
    """How many runs a part trains."""
    return sum(len(row.seeds) for row in _trained(part))


def _trained(part: Part) -> list[sweep.Variant]:
    return [row for row in sweep.variants(sweep.load(part.sweep)) if not row.runs_of]


def _epochs(recipe: str, overrides: list[str]) -> float:
    return run_config.preview(recipe, overrides).train.epochs
