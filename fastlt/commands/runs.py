"""train, eval and predict: what is wrong is found, where that is possible, before torch is imported for seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fastlt import config as run_config
from fastlt.address import Address
from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.train.run_folder import RunFolder

# What a run that goes on may change: how long it is, what it shows, and how the machine is used.
CHANGEABLE = ("data.", "train.steps", "train.epochs", "train.threads", "train.checkpoint_every", "train.log_every")
CHANGEABLE += ("method.teacher", "train.evaluate_every", "train.evaluate_batch")


@dataclass(frozen=True)
class SplitOfRun:
    """What is measured: the weights of a run on a split of its data set, or of the one at `data`."""

    run: Path
    split: str
    data: Path | Address | None = None
    checkpoint: str | None = None  # best or last; default: best where a validation split chose one
    device: str | None = None

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.run)

    def check(self) -> None:
        """Raises UserError if there is no such checkpoint, or no such split at `data`."""
        self.folder.evaluation_checkpoint(self.checkpoint)
        if self.data:
            _check_data(self.data, self.split)


def train_run(
    recipe: str | None, out: Path, overrides: list[str], resume: bool, device: str | None, console: Console
) -> dict:
    """Begins a run or goes on with one, evaluates it on the test split, and writes its summary and report."""
    folder = RunFolder(out)
    if resume:
        folder.check_resumable()
    else:
        folder.check_free()
    _check_data(run_config.preview(str(folder.config) if resume else recipe, overrides).data.path, "train")
    config, changes = _resumed(folder, overrides) if resume else run_config.load(recipe, overrides)

    from fastlt.commands.training import train_config

    return train_config(config, changes, folder, resume, device, console)


def _resumed(folder: RunFolder, overrides: list[str]) -> tuple[RunConfig, list[str]]:
    """The settings of a run that goes on. Raises UserError for an override that would make it another run."""
    before, _ = run_config.load(str(folder.config))
    config, _ = run_config.load(str(folder.config), overrides)
    changes = run_config.changes(before.model_dump(mode="json"), config.model_dump(mode="json"))
    for line in changes:
        if not line.startswith(CHANGEABLE):
            raise UserError(f"a run that goes on keeps its settings ({line}); begin another with another --out")
    return config, changes


def evaluate_run(what: SplitOfRun, console: Console, flip: bool | None = None) -> dict:
    """The metrics of a split; prints them as a table. `flip` takes the place of `train.evaluate_flip`."""
    what.check()

    from fastlt.commands.measuring import measure_run

    return measure_run(what, console, flip)


def thresholds_of_run(what: SplitOfRun, console: Console, all_scores: bool = False, folds: int | None = None) -> dict:
    """A threshold for every label of a run; kept in it and shown. With `folds` each training image is scored by a
    network trained without it."""
    if what.split == "test":
        raise UserError("thresholds fitted on the test split would be measured on what they were fitted to; use val")
    if what.split == "train" and not folds:
        raise UserError(
            "the network knows its training images too well for thresholds; use val, or --folds 5, which trains one "
            "more network a fold on the others"
        )
    what.check()
    if what.split == "val" and what.data is None:
        data_path = run_config.preview(str(what.folder.config)).data.path
        if not (data_path / "val" / "dataset.json").exists():
            raise UserError(
                f"{data_path} has no validation split; build it with --val 0.1, name another data set with --data, or "
                "use --folds 5, which trains one more network a fold of the training images"
            )

    from fastlt.commands.thresholds import fit_thresholds

    return fit_thresholds(what, console, all_scores, folds)


def prior_of_runs(
    runs: list[Path], original: Path | Address | None, which: str | None, device: str | None, console: Console
) -> dict:
    """The class prior that each run, a finished one, estimates; kept in it and ranked in a table."""
    for folder in map(RunFolder, runs):
        folder.evaluation_checkpoint(which)
        folder.check_finished()
    if original:
        _check_data(original, "train")

    from fastlt.commands.prior import estimate_priors

    return estimate_priors(runs, original, which, device, console)


def virtual_examples_of_run(
    run: Path, temperatures: list[float], which: str | None, device: str | None, console: Console
) -> dict:
    """The virtual examples that a finished run makes of its training images; kept in it and shown in a table."""
    folder = RunFolder(run)
    folder.evaluation_checkpoint(which)
    folder.check_finished()

    from fastlt.commands.virtual_examples import examine_teacher

    return examine_teacher(run, temperatures, which, device, console)


def predict_files(
    run: Path, inputs: list[Path], out: Path, which: str | None, device: str | None, console: Console
) -> None:
    """A CSV with the file, the labels found and the probability of every class; unreadable files are named.

    Of a data set with attributes: the file and the value of each attribute, in the columns of its own table.
    """
    folder = RunFolder(run)
    folder.evaluation_checkpoint(which)

    from fastlt.data.picture_files import PictureFiles, find_pictures

    pictures = PictureFiles(find_pictures(inputs))
    if not len(pictures):
        first = pictures.unreadable[0]
        raise UserError(f"none of {len(pictures.unreadable)} pictures can be read; the first: {first[0]}: {first[1]}")

    from fastlt.commands.measuring import predict_pictures

    predict_pictures(folder, pictures, inputs, out, which, device, console)


def _check_data(path: Path | Address, split: str) -> None:
    if not (path / split / "dataset.json").exists():
        raise UserError(
            f"{path} holds no data set: there is no {path / split / 'dataset.json'}; fastlt build makes one"
        )
