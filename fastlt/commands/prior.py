"""The class priors of runs: estimated, kept beside each run, and ranked next to one another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from rich.console import Console

from fastlt import distributed
from fastlt.address import Address
from fastlt.class_prior import ClassPrior
from fastlt.data.shards import ShardSet
from fastlt.errors import UserError
from fastlt.evaluate.prior import mean_probability
from fastlt.report.tables import ranking_table
from fastlt.train.display import Display
from fastlt.train.run_folder import RunFolder
from fastlt.train.trained import Trained

SHOWN = 10


def estimate_priors(
    runs: list[Path], original: Path | Address | None, which: str | None, device: str | None, console: Console
) -> dict:
    """Estimates and keeps the prior of each run; prints the most common classes by each, and by the annotations.

    `original`: the same data set with all its labels. Returns the same ranking, and each run's priors. Raises UserError
    for runs of other classes than the first one's, and for data sets of one label an image, which hides none.
    """
    with distributed.join(device) as ranks:
        display = Display(console, quiet=not ranks.is_first)
        opened = [Trained.load(RunFolder(run), ranks, which) for run in runs]
        _check(opened)
        data = opened[0].data
        rankings = {"original": _counts_of(original, data.classes)} if original else {}
        rankings["annotated"] = _shares(data.counts, data.images)
        found = {}
        for run, trained in zip(runs, opened, strict=True):
            prior = _estimate(trained, display)
            if ranks.is_first:
                display.say(f"kept in {prior.write(run)}: {prior.images:,} images")
            found[str(run)] = rankings[str(run)] = np.array(prior.prior)
        top = {name: _top(shares, data.classes) for name, shares in rankings.items()}
        if ranks.is_first:
            console.print(ranking_table(top, "most common classes, share of the training images"))
        return {"classes": data.classes, "top": top, "priors": {name: prior.tolist() for name, prior in found.items()}}


def _estimate(trained: Trained, display: Display) -> ClassPrior:
    """One pass over the training pictures, not augmented, with the averaged weights where there are any."""
    trained.precision.activate()
    with ShardSet(trained.config.data.path / "train") as records, trained.precision.autocast():
        if list(records.classes) != trained.data.classes:
            raise UserError(
                f"{records.folder} has other classes than {trained.checkpoint} was trained on; put its data set back"
            )
        prior, images = mean_probability(
            trained.method, records, trained.config, trained.ranks, display.ticker("training images")
        )
    return ClassPrior(
        classes=trained.data.classes,
        prior=prior.tolist(),
        images=images,
        dataset=trained.data.name,
        mode=getattr(trained.config.method, "mode", None),
        checkpoint=trained.checkpoint.name,
        checkpoint_sha256=hashlib.sha256(trained.checkpoint.read_bytes()).hexdigest(),
    )


def _check(runs: list[Trained]) -> None:
    for run in runs:
        if not run.data.multi_label:
            raise UserError(f"{run.checkpoint}: each image has one label, known to all; a prior is of several labels")
        if run.data.classes != runs[0].data.classes:
            raise UserError(
                f"{run.checkpoint} has other classes than {runs[0].checkpoint}; compare runs of one data set"
            )


def _counts_of(path: Path | Address, classes: list[str]) -> np.ndarray:
    with ShardSet(path / "train") as records:
        if list(records.classes) != classes:
            raise UserError(
                f"{path} has other classes than the runs; give the data set that their labels were hidden in"
            )
        return _shares(records.counts, len(records))


def _shares(counts, images: int) -> np.ndarray:
    return np.asarray(counts) / images


def _top(shares: np.ndarray, classes: list[str]) -> list[dict]:
    order = np.argsort(-shares, kind="stable")[:SHOWN]
    return [{"name": classes[c], "share": float(shares[c])} for c in order]
