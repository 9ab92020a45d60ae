"""thresholds, gradients, prior, virtual-examples: what is found out of runs and losses."""

from __future__ import annotations

from pathlib import Path

import click

from fastlt.cli.options import DATA, FOLDER, console, json_option, set_option, write_json


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Default: val; train with --folds.")
@click.option("--data", type=DATA, help="Another data set with the same classes.")
@click.option("--grid/--all-scores", default=True, help="Try .05, .10 ... .70 (default), or every score there is.")
@click.option("--folds", type=click.IntRange(min=2), help="Train on the other folds and fit on what each left out.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]))
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@json_option
def thresholds(run, split, data, grid, folds, checkpoint, device, json_file) -> None:
    """Fit a threshold to every label of a trained run, by Matthews correlation.

    They are kept in the run as thresholds.json; eval and predict use them from then on. They come from images on which
    no weights were trained: the validation split, or with --folds the training images, each scored by a network that
    was trained without it.

    Example: fastlt thresholds runs/corel5k
    """
    if folds and split not in (None, "train"):
        raise click.UsageError("--folds is of the training images; leave --split out")
    from fastlt.commands.runs import SplitOfRun, thresholds_of_run

    what = SplitOfRun(run, split or ("train" if folds else "val"), data, checkpoint, device)
    write_json(json_file, thresholds_of_run(what, console(), not grid, folds))


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@set_option
@click.option("--plot", type=FOLDER, default=Path("gradients.png"), show_default=True, help=".png, .svg or .pdf file.")
@json_option
def gradients(recipes, overrides, plot, json_file) -> None:
    """Draw how the losses of RECIPES pull at a logit, where its label is there and where it is not.

    A loss that compares classes is drawn against one other class of logit 0 and the other label. Where a loss lets
    labels pull that nobody knows, they are drawn too: of csl those that count.

    Example: fastlt gradients corel5k/bce corel5k/focal corel5k/asl --plot gradients.png
    """
    from fastlt.commands.gradients import draw_gradients

    write_json(json_file, draw_gradients(list(recipes), list(overrides), plot, console()))


@click.command()
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--original", type=DATA, help="The same data set with all its labels, for one more column.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]))
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@json_option
def prior(runs, original, checkpoint, device, json_file) -> None:
    """Estimate how common each class is in partly annotated images, with RUNS trained on them.

    The mean probabilities over the training images are kept in each run as prior.json, which method.prior of the
    method csl takes; estimate them with a run of the mode ignore. Several runs are ranked side by side.

    Example: fastlt prior runs/coco-ignore
    """
    from fastlt.commands.runs import prior_of_runs

    write_json(json_file, prior_of_runs(list(runs), original, checkpoint, device, console()))


def _temperatures(_context, _option, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < float("inf") for value in values):
        raise click.BadParameter("give numbers above 0 with commas between, such as 1,3,6")
    return values


@click.command("virtual-examples")
@click.argument("run", type=FOLDER)
@click.option(
    "--temperatures",
    callback=_temperatures,
    default="1,2,3,4,5,6,7,8,9,10,12,15,20",
    show_default=True,
    help="Numbers above 0, with commas between.",
)
@click.option("--checkpoint", type=click.Choice(["best", "last"]))
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@json_option
def virtual_examples(run, temperatures, checkpoint, device, json_file) -> None:
    """Show how many virtual examples of each class RUN, as the teacher of the method dive, would give a student.

    For each temperature the sums of its softmax over the training images, not augmented; which temperature is proper;
    kept in RUN with a plot.

    Example: fastlt virtual-examples runs/bsce --temperatures 1,3,6,20
    """
    from fastlt.commands.runs import virtual_examples_of_run

    write_json(json_file, virtual_examples_of_run(run, temperatures, checkpoint, device, console()))
