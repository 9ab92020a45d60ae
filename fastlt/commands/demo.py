"""The demo: two long-tailed data sets of real handwritten digits, built, trained on and compared."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fastlt.commands.data import build_data_set
from fastlt.commands.runs import train_run
from fastlt.files import write_text
from fastlt.inspection import inspect
from fastlt.report import page, plots
from fastlt.report.tables import data_table, results_table
from fastlt.train.display import headlines
from fastlt.train.run_folder import RunFolder


@dataclass(frozen=True)
class Experiment:
    recipe: str
    data: str


DATA = {"digits": ["form=single"], "digits-scenes": ["form=scenes"]}
EXPERIMENTS = {
    "digits, uniform": Experiment("digits/erm", "digits"),
    "digits, class-balanced": Experiment("digits/erm_class_balanced", "digits"),
    "scenes, uniform": Experiment("digits_scenes/erm", "digits-scenes"),
    "scenes, two branches": Experiment("digits_scenes/collaborative", "digits-scenes"),
}


def run_demo(out: Path, steps: int | None, console: Console) -> None:
    """Builds, trains, and ends with a table, OUT/report.html and OUT/summary.json. What is there already is kept."""
    begin = time.perf_counter()
    for name, options in DATA.items():
        build_data_set("digits", None, out / "data" / name, console, options=options)
        console.print(data_table(inspect(out / "data" / name)))
    results = {title: _run(out, title, experiment, steps, console) for title, experiment in EXPERIMENTS.items()}
    _write_report(out, results)
    first = next(iter(results.values()))
    write_text(out / "summary.json", json.dumps(first | {"runs": results}, indent=2) + "\n")
    console.print()
    for kind, chosen in (("one label an image", "top1"), ("several labels an image", "mAP")):
        rows: dict[str, dict] = {}
        for title, found in results.items():
            if chosen in found["metrics"]:
                rows |= headlines(title, found["metrics"] | {"parts": found.get("parts", {})})
        console.print(results_table(rows, f"{kind}, on the test split"))
    console.print(
        f"\n{time.perf_counter() - begin:.0f} s in all. Open {out / 'report.html'}; figures: {out / 'summary.json'}"
    )


def _run(out: Path, title: str, experiment: Experiment, steps: int | None, console: Console) -> dict:
    """Trains one recipe, or goes on with it; a finished run is not trained again."""
    folder = RunFolder(out / experiment.recipe.replace("/", "-"))
    console.print(f"\n{title}: fastlt train {experiment.recipe} --out {folder.path}", style="bold")
    if not folder.summary.exists():
        overrides = [f"data.path={out / 'data' / experiment.data}", *([f"train.steps={steps}"] if steps else [])]
        resume = folder.last.exists()
        return train_run(
            None if resume else experiment.recipe, folder.path, [] if resume else overrides, resume, None, console
        )
    console.print(f"trained already; remove {folder.path} to train anew")
    return json.loads(folder.summary.read_text(encoding="utf-8"))


def _write_report(out: Path, results: dict[str, dict]) -> None:
    rows = []
    for title, found in results.items():
        speed = [f"{found['images_per_second']:.0f}", page.percent(found["data_wait_fraction"])]
        rows.append([title, _shown(found["metrics"]), *speed])
        rows += [[f"{title}, {name} alone", _shown(part), "", ""] for name, part in found.get("parts", {}).items()]
    sections = [page.table(["run", "results on test", "images/s", "waiting for data"], rows)]
    for name in DATA:
        sections += [
            f"<h2>{name}</h2>",
            page.image(plots.long_tail(inspect(out / "data" / name)), f"long tail of {name}"),
        ]
    for title, experiment in EXPERIMENTS.items():
        folder = RunFolder(out / experiment.recipe.replace("/", "-"))
        per_class = json.loads(folder.summary.read_text(encoding="utf-8"))["per_class"]
        value = "accuracy" if "accuracy" in per_class[0] else "average_precision"
        sections += [f"<h2>{title}</h2>", page.image(plots.results_along_tail(per_class, value), title)]
    write_text(out / "report.html", page.page("fastlt demo: handwritten digits with a long tail", sections))


def _shown(metrics: dict) -> str:
    return "  ".join(f"{name} {page.percent(value)}" for name, value in metrics.items() if isinstance(value, float))
