"""Virtual examples as a table of groups and as a plot along the tail."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from fastlt.evaluate.virtual_examples import VirtualExamples
from fastlt.report.plots import name_classes

POWER = 0.5  # the paper's power normalisation
SHOWN = 6  # temperatures that a plot has room for
FEWEST = 0.1  # virtual examples that a plot shows


def virtual_examples_table(found: VirtualExamples) -> Table:
    """One row for the training images and one a temperature: the mean of each group's classes."""
    title = f"virtual examples of {found.images:,} training images: the mean of each group's classes"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("temperature")
    for name, inside in found.groups.items():
        table.add_column(f"{name} ({len(inside)})", justify="right")
    rows = {"training images": found.means(found.counts)}
    rows |= {f"{t:g}": means for t, means in zip(found.temperatures, found.group_means, strict=True)}
    for label, means in rows.items():
        proper = "  <" if label == f"{found.proper_temperature or 0:g}" else ""
        table.add_row(label + proper, *(f"{value:.1f}" for value in means.values()))
    return table


def temperature_rule(found: VirtualExamples) -> str:
    """The rule applied, in words."""
    if len(found.groups) < 2:
        return "all classes are in one group, so that no temperature can be chosen by groups"
    most, rarest = list(found.groups)[0], list(found.groups)[-1]
    proper = found.proper_temperature
    rule = f"a class of {rarest} has as many virtual examples as one of {most}"
    if proper is None:
        return f"at none of these temperatures {rule}; try higher ones with --temperatures"
    return (
        f"{proper:g} is the lowest of these temperatures at which {rule}: set method.temperature={proper:g} and "
        f"method.power=1, or for the same teacher method.temperature={proper * POWER:g} and method.power={POWER:g}"
    )


def virtual_examples_plot(found: VirtualExamples):
    """A figure: training images as bars, the virtual examples of some temperatures as lines, from head to tail."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    order = np.argsort(-np.asarray(found.counts), kind="stable")
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(order)), np.asarray(found.counts)[order], color="#d6dde5", width=1.0, label="training images")
    shown = _some(found)
    for place, number in enumerate(shown):
        temperature, row = found.temperatures[number], np.asarray(found.examples[number])[order]
        ink = colormaps["viridis"](0.9 * place / max(len(shown) - 1, 1))
        wide = 2.4 if temperature == found.proper_temperature else 1.1
        axes.plot(row, color=ink, label=f"temperature {temperature:g}", linewidth=wide)
    axes.set(yscale="log", ylabel="virtual examples of the class", xlabel="classes, from head to tail")
    axes.set_ylim(bottom=FEWEST)
    axes.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    name_classes(axes, [found.classes[c] for c in order])
    return figure


def _some(found: VirtualExamples) -> list[int]:
    """At most `SHOWN` temperatures evenly over the list, the proper one among them."""
    chosen = set(np.linspace(0, len(found.temperatures) - 1, min(SHOWN, len(found.temperatures))).round().astype(int))
    proper = [number for number, t in enumerate(found.temperatures) if t == found.proper_temperature]
    return sorted(chosen.union(proper))
