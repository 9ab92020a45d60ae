"""What a preset would run, and how long that is on a machine that trains so many images a second."""

from __future__ import annotations

from fastlt import config as run_config
from fastlt import sweep
from reproduction.parts import DATA, Part

IMAGES = {"cifar100-lt-100": 10_847, "voc-lt": 1_142, "coco-lt": 1_909, "corel5k": 4_000}  # of training, published
IMAGES |= {"cifar10-lt-100": 12_406, "cifar10-lt-50": 13_996, "cifar10-lt-10": 20_431, "corel5k-lt": 1_900}
IMAGES |= {"corel5k-rps": 4_000, "corel5k-fpc": 4_000}
AT = 1_000  # images a second that the hours stand for


def planned(parts: list[Part]) -> str:
    """Commands, runs and images of each part. The hours are no measurement: images over AT a second."""
    lines = []
    for part in parts:
        spec = sweep.load(part.sweep)
        runs = [(row, seed) for row in sweep.variants(spec) if not row.runs_of for seed in row.seeds]
        images = sum(_epochs(row.recipe, row.overrides) for row, _ in runs) * IMAGES[part.data]
        source, archive, options = DATA[part.data]
        lines += [
            part.title,
            f"  fastlt build {source} --root {archive} --out {part.data} {' '.join(options)}",
            f"  fastlt sweep {part.sweep} --set data.path={part.data} --out {part.name}",
            f"  {len(runs)} runs, {images / 1e6:.1f} million images: {images / AT / 3600:.1f} h at {AT:,} images/s",
        ]
    return "\n".join(lines)


def _epochs(recipe: str, overrides: list[str]) -> float:
    return run_config.preview(recipe, overrides).train.epochs
