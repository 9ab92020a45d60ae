"""The classes of a data set along an axis, from head to tail: in the colours of their groups, joined where too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlt.inspection import Inspection
from fastlt.report.plots import NAMED, name_classes

GROUP_INK = ("#2b5c8a", "#c58b2b", "#b3423a", "#4f8a4b", "#8a5fa8")
NO_GROUP = "#8a8a8a"
MOST_BARS = 300  # that a plot has room for


@dataclass(frozen=True)
class TailAxis:
    """Bar b stands for the classes order[edges[b]:edges[b + 1]], which are of one group or of none."""

    names: list[str]  # [C], head first
    order: np.ndarray  # int64 [C]
    edges: np.ndarray  # int64 [B + 1]
    groups: dict[str, np.ndarray]  # name -> its bars

    @classmethod
    def of(cls, found: Inspection, order: np.ndarray | None = None, most: int = MOST_BARS) -> TailAxis:
        """All classes by their training images, in groups; or along `order`, int64 of any of them, without groups.

        More than `most` are joined.
        """
        names, group = list(found.groups), _group_numbers(found)
        if order is None:
            order = np.argsort(-np.asarray(found.counts["train"]), kind="stable")
        else:
            names, group = [], np.full_like(group, -1)  # they would alternate along another order
        edges = _edges(group[order], most)
        groups = {name: np.flatnonzero(group[order][edges[:-1]] == number) for number, name in enumerate(names)}
        return cls([found.classes[c] for c in order], order, edges, groups)

    @property
    def note(self) -> str:
        """What a reader has to know of joined classes, or nothing."""
        most = int(np.diff(self.edges).max())
        return f" Neighbouring classes are drawn together, up to {most} at a time, by their mean." if most > 1 else ""

    def means(self, values) -> np.ndarray:
        """float64 [B] of values [C] in the data set's order of classes."""
        along = np.asarray(values, np.float64)[self.order]
        return np.add.reduceat(along, self.edges[:-1]) / np.diff(self.edges)

    def bars(self, axes, heights: np.ndarray) -> None:
        """Bars of those heights [B], in the colours of the groups."""
        for (name, chosen), ink in zip(self.groups.items(), self._inks(), strict=True):
            self._bars(axes, chosen, heights, color=ink, label=name)
        rest = np.setdiff1d(np.arange(len(heights)), np.concatenate([np.empty(0, int), *self.groups.values()]))
        self._bars(axes, rest, heights, color=NO_GROUP)

    def plain_bars(self, axes, heights: np.ndarray, bottom: np.ndarray | None = None, **more) -> None:
        """Bars of those heights [B] in one colour, standing on `bottom` [B]."""
        self._bars(axes, np.arange(len(heights)), heights, bottom=bottom, **more)

    def line(self, axes, heights: np.ndarray, **more) -> None:
        """A line through those heights [B], with a mark at each class where there is room."""
        centres = (self.edges[:-1] + self.edges[1:] - 1) / 2
        axes.plot(centres, heights, marker="." if len(self.order) <= NAMED else None, **more)

    def finish(self, axes) -> None:
        """Names what stands along the axis."""
        axes.set(xlabel="classes, from head to tail", xlim=(-0.6, len(self.order) - 0.4))
        name_classes(axes, self.names)

    def _bars(self, axes, chosen: np.ndarray, heights: np.ndarray, bottom=None, **more) -> None:
        gap = 0.15 if len(self.order) <= NAMED else 0
        bottom = 0 if bottom is None else bottom[chosen]
        left, widths = self.edges[:-1][chosen] - 0.5 + gap / 2, np.diff(self.edges)[chosen] - gap
        if chosen.size:
            axes.bar(left, heights[chosen], widths, bottom, align="edge", linewidth=0, **more)

    def _inks(self) -> list[str]:
        return [GROUP_INK[number % len(GROUP_INK)] for number in range(len(self.groups))]


def _group_numbers(found: Inspection) -> np.ndarray:
    """int64 [C]: which group each class is in; -1 is none."""
    number_of = {c: number for number, names in enumerate(found.groups.values()) for c in names}
    return np.array([number_of.get(c, -1) for c in found.classes], np.int64)


def _edges(group: np.ndarray, most: int) -> np.ndarray:
    """int64 [B + 1]: every class alone where there is room, else runs of one length, cut where the group changes."""
    size = len(group)
    step = -(-size // most)
    borders = np.flatnonzero(np.diff(group)) + 1 if step > 1 else []
    even = np.arange(0, size, step)
    return np.union1d(np.concatenate([even, [size]]), borders).astype(np.int64)
