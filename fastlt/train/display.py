"""What a run shows while it goes: a rich progress line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Shows one run; silent where `quiet` (every rank but the first)."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False)
        self.quiet = quiet
        self.live = self.console.is_terminal and not quiet
        self._progress: Progress | None = None
        self._task = None

    def begin(self, step: int, steps: int, notes: list[str]) -> None:
        """The lines that open a run, and its progress bar."""
        for note in notes:
            self.say(note)
        if self.live:
            self._progress = _bar(self.console)
            self._task = self._progress.add_task("train", total=steps, completed=step, note="")
            self._progress.start()
        self._steps = steps

    def say(self, line: str) -> None:
        if not self.quiet:
            self.console.print(line, markup=False, soft_wrap=True)

    def advance(self, step: int) -> None:
        if self._progress:
            self._progress.update(self._task, completed=step)

    def row(self, row: dict) -> None:
        """One row of metrics.jsonl: beside the bar, or as a line of its own."""
        if self._progress and "terms" in row:
            self._progress.update(self._task, note=_losses(row))
        else:
            self.say(line_of(row, self._steps))

    def ticker(self, title: str) -> Callable[[int, int], None] | None:
        """A bar for an evaluation, lines at each quarter off a terminal; None where nothing is shown."""
        if self.quiet:
            return None
        if not self.live:
            return self._quarters(title)
        own = self._progress or _bar(self.console)
        own.start()
        task = own.add_task(title, total=None, note="")

        def tick(done: int, total: int) -> None:
            own.update(task, completed=done, total=total)
            if done == total:
                own.remove_task(task)
                if own is not self._progress:
                    own.stop()

        return tick

    def _quarters(self, title: str) -> Callable[[int, int], None]:
        told = 0

        def tick(done: int, total: int) -> None:
            nonlocal told
            if 4 * done // total > told:
                told = 4 * done // total
                self.say(f"{title}: {done:,} of {total:,}")

        return tick

    def end(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


def line_of(row: dict, steps: int) -> str:
    """`step 40/200  epoch 1.25  loss 2.1031  812 images/s  data wait 4 %` or the metrics of a split."""
    head = f"step {row['step']}/{steps}"
    if "terms" in row:
        return f"{head}  epoch {row['epoch']:.2f}  {_losses(row)}"
    return f"{head}  {row['split']}: {metrics_text(row)}"


def headline(found: dict) -> dict:
    """The metrics without the table of classes and those of parts."""
    return {name: value for name, value in found.items() if name not in ("per_class", "parts")}


def headlines(title: str, found: dict) -> dict[str, dict]:
    """The metrics by title: the whole method's, then those of each of its parts alone."""
    parts = {f"{title}, {name} alone": headline(part) for name, part in found.get("parts", {}).items()}
    return {title: headline(found)} | parts


def metrics_text(metrics: dict) -> str:
    """The metrics of a split on one line, fractions as percentages."""
    shown = [f"{name} {100 * value:.2f} %" for name, value in metrics.items() if isinstance(value, float)]
    return "  ".join(shown)


def _losses(row: dict) -> str:
    terms = "  ".join(f"{name} {value:.4f}" for name, value in row["terms"].items())
    return (
        f"{terms}  lr {row['lr']:.4g}  {row['images_per_second']:.0f} images/s  "
        f"data wait {100 * row['data_wait_fraction']:.0f} %  {_duration(row['seconds_left'])} left"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
