"""The HTML page of a data set: one file, no scripts, plots and pictures inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlt.address import Address
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.files import write_text
from fastlt.inspection import Inspection, attribute_states, co_occurrence, inspect, label_rows
from fastlt.report import data_plots, page, picture_wall
from fastlt.report.page import text
from fastlt.report.plots import shortened
from fastlt.report.tail_axis import TailAxis

TOGETHER = 40  # most frequent classes whose co-occurrence is drawn
HEAT_NAME = 22  # characters of a name beside it
PAIRED = 1000  # most frequent classes among which the strongest pairs are looked for
PAIRS = 20  # strongest pairs
PAIR_IMAGES = 5  # images that both classes of a pair have at least, so that chance does not lead the list
LISTED = 500  # classes in the table of all classes
MISSING = 12  # names of classes given that only one of two data sets has
LINE_POINTS = 60  # of a line: more of them, side by side with others, would be noise
VALUES = 60  # of one attribute that are listed

STYLE = (
    """
p.note { color: #555; max-width: 46rem } h3 { font-size: 1rem; margin: 1.4rem 0 .5rem }
summary { cursor: pointer; margin: .4rem 0 }
.heat { font-size: .7rem; border-collapse: separate; border-spacing: 1px }
.heat td { width: 1.3rem; min-width: 1.3rem; height: 1.3rem; padding: 0; text-align: center; background: #f5f7f9;
  font-variant-numeric: tabular-nums }
.heat tr:nth-child(even) td { background: #f5f7f9 } .heat td.one { background: #dfe3e8 !important }
.heat th { min-width: 0; padding: 0 .4rem 0 0; font-weight: normal; white-space: nowrap; text-align: right;
  vertical-align: middle }
.heat thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3rem 0 0 }
.heat thead td { background: none }
.heat tbody th { position: sticky; left: 0; background: #fff }
"""
    + picture_wall.STYLE
)


def write_data_page(
    folder: Path | Address, found: Inspection, path: Path, seed: int, before: Path | Address | None = None
) -> None:
    """Writes the page of the data set in `folder`, of which `found` is what `inspect` gives.

    `before` is another data set, compared with over the classes of the same names. Raises UserError where it has
    none of them, or the page cannot be written.
    """
    axis = TailAxis.of(found)
    compared = _before_after(inspect(before, seed), found, before, folder) if before else []
    with ShardSet(folder / "train") as train:
        sections = [
            _facts(found),
            *_tail(found, axis),
            *compared,
            *_streams(found, axis),
            *_known(found, axis),
            *(_together(train) if found.multi_label else []),
            *_attributes(train),
            "<h2>Pictures</h2>",
            *picture_wall.wall(train, seed),
            *_classes(found, axis),
        ]
    write_text(path, page.page(found.name, sections, STYLE))


def _facts(found: Inspection) -> str:
    sizes = {name: f"{len(names):,}" for name, names in found.groups.items() if names}
    rows = [
        ["images", ", ".join(f"{count:,} {split}" for split, count in found.images.items())],
        ["classes", f"{len(found.classes):,} ({', '.join(f'{size} {name}' for name, size in sizes.items())})"],
        ["largest class over the smallest", f"{found.imbalance:,g}"],
    ]
    if found.multi_label:
        rows.append(["labels an image", f"{found.labels_per_image:.2f}"])
    if found.checks:
        rows.append(["pictures", _how_checked(**found.checks)])
    return page.table(["data set", ""], rows)


def _how_checked(check: str, on_bad: str, dali: bool) -> str:
    looked = "every one decoded by Pillow" if check == "decode" else "headers checked, those in doubt decoded by Pillow"
    tried = ", unusual ones by DALI too" if dali else ""
    special = {"fail": "none would pass", "skip": "left out", "transcode": "stored as PNG"}[on_bad]
    return f"{looked}{tried}; what decoders do not show alike: {special}"


def _tail(found: Inspection, axis: TailAxis) -> list[str]:
    counts = [found.counts["train"][c] for c in (axis.order[0], axis.order[-1])]
    meaning = (
        f"Images of each of {len(found.classes):,} classes in {', '.join(found.images)}, from head to tail: in "
        f"training {counts[0]:,} of {axis.names[0]} down to {counts[1]:,} of {axis.names[-1]}"
    )
    note = f"Classes stand in the order of their training images and have the colours of their groups.{axis.note}"
    return ["<h2>The long tail</h2>", _note(note), page.image(data_plots.splits(found, axis), meaning)]


def _streams(found: Inspection, axis: TailAxis) -> list[str]:
    axis = TailAxis.of(found, axis.order, LINE_POINTS)
    names = {name: name.replace("_", " ") for name in found.streams}
    place = {c: number for number, c in enumerate(found.classes)}
    rows = []
    for group, members in found.groups.items():
        if members:
            chosen = [place[c] for c in members]
            means = [100 * float(np.mean(np.asarray(shares)[chosen])) for shares in found.streams.values()]
            size = "1 class" if len(members) == 1 else f"{len(members):,} classes"
            rows.append([f"{group}, {size}", *(f"{mean:.3g} %" for mean in means)])
    note = (
        f"Among the images that a stream draws, the share in which each class is positive.{axis.note} The table gives "
        "the mean over the classes of a group."
    )
    meaning = f"Share of drawn images in which each class is positive, for the streams {', '.join(names.values())}"
    table = page.table(["mean share of a class", *names.values()], rows)
    title = "<h2>What each stream makes of it</h2>"
    return [title, _note(note), page.image(data_plots.streams(found, axis), meaning), table]


def _before_after(before: Inspection, after: Inspection, before_folder: Path, after_folder: Path) -> list[str]:
    """Both distributions over the classes that both have, in the order of the set with the longer tail."""
    place = {name: c for c, name in enumerate(before.classes)}
    shared = np.array([c for c, name in enumerate(after.classes) if name in place], np.int64)
    if not shared.size:
        raise UserError(f"{before_folder} and {after_folder} have no class in common: there is nothing to compare")
    counts = np.zeros(len(after.classes), np.int64)
    counts[shared] = np.asarray(before.counts["train"])[[place[after.classes[c]] for c in shared]]
    leading = counts if before.imbalance > after.imbalance else np.asarray(after.counts["train"])
    axis = TailAxis.of(after, shared[np.argsort(-leading[shared], kind="stable")])
    titles = _told_apart(before_folder, after_folder)
    rows = [[title, *_figures(found)] for title, found in zip(titles, (before, after), strict=True)]
    extent = "the one class" if shared.size == 1 else f"the {shared.size:,} classes"
    note = f"Over {extent} that both have.{axis.note}"
    note += _only(before, after, titles[0]) + _only(after, before, titles[1])
    meaning = f"Training images of each class in {titles[0]} and in {titles[1]}, as numbers and as shares"
    return [
        "<h2>Before and after</h2>",
        _note(note),
        page.image(data_plots.before_after(before, counts, after, axis, titles), meaning),
        page.table(["", "training images", "classes", "smallest", "largest", "imbalance", "labels an image"], rows),
    ]


def _told_apart(before: Path, after: Path) -> list[str]:
    names = [path.resolve().name for path in (before, after)]
    return [f"before: {names[0]}", f"after: {names[1]}"]


def _figures(found: Inspection) -> list[str]:
    counts = found.counts["train"]
    sizes = (found.images["train"], len(counts), min(counts), max(counts))
    return [*(f"{size:,}" for size in sizes), f"{found.imbalance:,g}", f"{found.labels_per_image:.2f}"]


def _only(found: Inspection, other: Inspection, title: str) -> str:
    known = set(other.classes)
    names = [name for name in found.classes if name not in known]
    if not names:
        return ""
    more = f" and {len(names) - MISSING:,} more" if len(names) > MISSING else ""
    return f" Only in {title}: {', '.join(names[:MISSING])}{more}."


def _known(found: Inspection, axis: TailAxis) -> list[str]:
    """Nothing where every label is known."""
    if not found.unknown:
        return []
    shares = {split: data_plots.label_shares_known(found, split).mean(axis=1) for split in found.unknown}
    rows = [[split, *(page.percent(float(share)) for share in row)] for split, row in shares.items()]
    meaning = (
        f"Training images in which each of {len(found.classes):,} classes is positive, negative, unknown: shares "
        "above, numbers below"
    )
    return [
        "<h2>Labels that are known</h2>",
        _note(f"Not every image says of every class whether it is there.{axis.note}"),
        page.image(data_plots.known(found, axis), meaning),
        page.table(["of all labels", "positive", "negative", "unknown"], rows),
    ]


def _together(train: ShardSet) -> list[str]:
    order = np.argsort(-train.counts, kind="stable")[: min(PAIRED, np.count_nonzero(train.counts))]
    both = co_occurrence(label_rows(train), order)
    names = [train.classes[c] for c in order]
    shown = min(TOGETHER, len(names))
    cut = f" The {shown} most frequent classes." if shown < len(train.classes) else ""
    note = (
        "Of the training images with the class of a row, the share in percent that also has that of the column; empty "
        f"where none has, 0 below one half.{cut}"
    )
    return ["<h2>Classes that occur together</h2>", _note(note), _heat(names[:shown], both), *_pairs(names, both)]


def _heat(names: list[str], both: np.ndarray) -> str:
    head = "".join(_heat_name("col", name) for name in names)
    rows = "".join(
        f"<tr>{_heat_name('row', name)}{''.join(_heat_cell(row, c, both) for c in range(len(names)))}</tr>"
        for row, name in enumerate(names)
    )
    body = f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table class="heat">{body}</table></div>'


def _heat_name(scope: str, name: str) -> str:
    return f'<th scope="{scope}" title="{text(name)}">{text(shortened(name, HEAT_NAME))}</th>'


def _heat_cell(row: int, column: int, both: np.ndarray) -> str:
    if row == column:
        return '<td class="one"></td>'
    if not both[row, column]:
        return "<td></td>"
    share = both[row, column] / both[row, row]
    ink = ";color:#fff" if share > 0.75 else ""
    shade = 0.08 + 0.92 * share
    return f'<td style="background:rgba(43,92,138,{shade:.2f}){ink}">{100 * share:.0f}</td>'


def _pairs(names: list[str], both: np.ndarray) -> list[str]:
    """The pairs whose images overlap most."""
    counts = both.diagonal()
    first, second = np.triu_indices(len(names), 1)
    together = both[first, second]
    kept = together >= PAIR_IMAGES
    first, second, together = first[kept], second[kept], together[kept]
    overlap = together / (counts[first] + counts[second] - together)
    best = np.argsort(-overlap, kind="stable")[:PAIRS]
    rows = [
        [f"{names[a]}, {names[b]}", f"{n:,}", *(page.percent(share) for share in (o, n / counts[a], n / counts[b]))]
        for a, b, n, o in zip(first[best], second[best], together[best], overlap[best], strict=True)
    ]
    if not rows:
        return [_note(f"No two classes have {PAIR_IMAGES} images together.")]
    head = ["pair", "images with both", "of those with either", "of those with the first", "of those with the second"]
    among = f" of the {len(names):,} most frequent classes" if len(names) == PAIRED else ""
    return [
        "<h3>The strongest pairs</h3>",
        _note(f"The pairs{among} whose images overlap most, with at least {PAIR_IMAGES} images in common."),
        page.table(head, rows),
    ]


def _attributes(train: ShardSet) -> list[str]:
    attributes = train.manifest.get("attributes") or {}
    if not attributes:
        return []
    states = attribute_states(label_rows(train), attributes)
    note = (
        "Of the training images, the share in which each value of an attribute is there, in which none is, and in "
        "which nobody knows. An image may have several values."
    )
    shown = [_attribute(train, name, values, states[name]) for name, values in attributes.items()]
    return ["<h2>Attributes</h2>", _note(note), *shown]


def _attribute(train: ShardSet, name: str, values: list[int], state: dict[str, int]) -> str:
    images = len(train)
    order = sorted(values, key=lambda c: -train.counts[c])
    rows = [[train.classes[c], f"{train.counts[c]:,}", page.percent(train.counts[c] / images)] for c in order[:VALUES]]
    if len(order) > VALUES:
        rest = int(train.counts[order[VALUES:]].max())
        rows.append([f"{len(order) - VALUES:,} more values", f"up to {rest:,} each", ""])
    rows += [[kind, f"{state[kind]:,}", page.percent(state[kind] / images)] for kind in ("none", "unknown")]
    noun = "value" if len(values) == 1 else "values"
    title = f"{text(name)}: {len(values):,} {noun}, unknown in {page.percent(state['unknown'] / images)}"
    table = page.table(["value", "images", "share"], rows)
    return f"<details{' open' if len(values) <= 12 else ''}><summary>{title}</summary>{table}</details>"


def _classes(found: Inspection, axis: TailAxis) -> list[str]:
    """Every class from head to tail; of a very long list the middle is left out."""
    group_of = {name: group for group, names in found.groups.items() for name in names}
    order = axis.order.tolist()
    left_out = max(len(order) - LISTED, 0)
    if left_out:
        order = [*order[: LISTED // 2], *order[-LISTED // 2 :]]
    rows = [
        [found.classes[c], group_of.get(found.classes[c], ""), *(f"{counts[c]:,}" for counts in found.counts.values())]
        + [f"{counts[c]:,}" for counts in found.unknown.values()]
        for c in order
    ]
    head = ["class", "group", *found.counts, *(f"unknown in {split}" for split in found.unknown)]
    note = _note(f"{left_out:,} classes in the middle are left out.") if left_out else ""
    summary = f"The images of {len(order):,} classes, from head to tail"
    return ["<h2>Classes</h2>", f"<details><summary>{summary}</summary>{note}{page.table(head, rows)}</details>"]


def _note(line: str) -> str:
    return f'<p class="note">{text(line)}</p>'
