"""The HTML page of a run: one file, no scripts, plots inside."""

from __future__ import annotations

import base64
from html import escape

from fastlt.config import RunConfig
from fastlt.files import write_text
from fastlt.inspection import inspect
from fastlt.report import plots
from fastlt.report.tables import annotation_text
from fastlt.train.run_folder import RunFolder

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse }
td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
td.number { white-space: nowrap } th:first-child, td:first-child { min-width: 7rem }
tr:nth-child(even) td { background: #f5f7f9 }
img { max-width: 100% } .wide { overflow-x: auto } .wide > img { min-width: 40rem }
pre { background: #f5f7f9; padding: .8rem; overflow-x: auto; font-size: 13px }
"""


def write_page(folder: RunFolder, summary: dict, found: dict) -> None:
    """Writes report.html: the results, the long tail, each class, and the settings of the run."""
    settings = folder.config.read_text(encoding="utf-8")
    sections = [_facts(summary), *_results(found), *_data(settings), f"<h2>Settings</h2><pre>{escape(settings)}</pre>"]
    write_text(folder.report, page(f"{summary['dataset']}: {summary['method']}", sections))


def page(title: str, sections: list[str], style: str = "") -> str:
    """The whole page; `style` is what its sections need beyond STYLE."""
    body = "\n".join(sections)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{text(title)}</title><style>{STYLE}{style}</style><h1>{text(title)}</h1>\n{body}</html>\n"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """The first column is text, the others are numbers."""

    def line(cells: list[str], tag: str) -> str:
        numbers = "".join(f'<{tag} class="number">{text(cell)}</{tag}>' for cell in cells[1:])
        return f"<tr><{tag}>{text(cells[0])}</{tag}>{numbers}</tr>"

    return f'<div class="wide"><table>{line(head, "th")}{"".join(line(row, "td") for row in rows)}</table></div>'


def text(name: str) -> str:
    """A name out of a data set as HTML; bytes that are no UTF-8 become question marks."""
    return escape(name.encode("utf-8", "replace").decode())


def image(figure, meaning: str) -> str:
    """A plot inside the page, described by `meaning`; in a narrow window it scrolls instead of becoming illegible."""
    data = base64.b64encode(plots.png(figure)).decode()
    return f'<div class="wide"><img alt="{text(meaning)}" src="data:image/png;base64,{data}"></div>'


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _facts(summary: dict) -> str:
    names = ("backbone", "streams", "steps", "epochs", "training_images", "images_per_second", "data_wait_fraction")
    shown = [*names, "device", "ranks", "precision", "bad_images", "split", "checkpoint"]
    return table(["run", ""], [[name.replace("_", " "), str(summary[name])] for name in shown])


def _results(found: dict) -> list[str]:
    if not found:
        return ["<p>No test or validation split: nothing was measured.</p>"]
    value = "average_precision" if "mAP" in found else "accuracy"
    overall = [[name, percent(number)] for name, number in found.items() if isinstance(number, float)]
    rows = [
        [row["name"], str(row["train_count"]), str(row["test_count"]), percent(row[value])]
        for row in sorted(found["per_class"], key=lambda row: -row["train_count"])
    ]
    return [
        f"<h2>Results on {escape(found['split'])}</h2>",
        table(["metric", ""], overall),
        *_parts(found),
        *_annotation(found.get("annotation", {})),
        *_attributes(found.get("attributes", {})),
        image(plots.results_along_tail(found["per_class"], value), "results along the long tail"),
        "<h2>Classes, from head to tail</h2>",
        table(["class", "training images", f"{found['split']} images", value.replace("_", " ")], rows),
    ]


def _parts(found: dict) -> list[str]:
    parts = found.get("parts", {})
    if not parts:
        return []
    columns = {"together": found} | {f"{name} alone": part for name, part in parts.items()}
    names = [name for name, value in found.items() if isinstance(value, float)]
    rows = [[name, *(percent(column.get(name)) for column in columns.values())] for name in names]
    return ["<h2>Its parts</h2>", table(["metric", *columns], rows)]


def _annotation(found: dict[str, dict]) -> list[str]:
    if not found:
        return []
    head = ["", *(name.replace("_", " ") for name in next(iter(found.values())))]
    rows = [[name, *map(annotation_text, row.values())] for name, row in found.items()]
    return ["<h2>Which labels are given</h2>", table(head, rows)]


def _attributes(found: dict[str, dict]) -> list[str]:
    if not found:
        return []
    metrics = ("accuracy", "balanced_accuracy", "majority_accuracy", "majority_balanced_accuracy")
    rows = [
        [name, str(row["images"]), *(percent(row[metric]) for metric in metrics), row["majority"]]
        for name, row in found.items()
    ]
    head = ["attribute", "images", *(metric.replace("_", " ") for metric in metrics), "majority"]
    return ["<h2>Attributes, where they are known</h2>", table(head, rows)]


def _data(settings: str) -> list[str]:
    import yaml

    config = RunConfig.model_validate(yaml.safe_load(settings))
    found = inspect(config.data.path, config.seed)
    return ["<h2>The long tail, and what each stream makes of it</h2>", image(plots.long_tail(found), "the long tail")]
