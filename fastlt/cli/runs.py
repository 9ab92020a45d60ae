"""demo, train, eval, predict, sweep: runs."""

from __future__ import annotations

from pathlib import Path

import click

from fastlt.cli.options import DATA, FOLDER, console, json_option, set_option, write_json


@click.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Where results go.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each run, for a shorter or longer demo.")
def demo(out: Path, steps: int | None) -> None:
    """Build, train, evaluate and compare on real handwritten digits, in a few minutes on a CPU.

    Example: fastlt demo
    """
    from fastlt.commands.demo import run_demo

    run_demo(out, steps, console())


@click.command()
@click.argument("recipe", required=False)
@click.option("--out", type=FOLDER, help="Folder of the run.")
@set_option
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in OUT.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: cuda if there is a GPU.")
@click.option("--list", "list_recipes", is_flag=True, help="List the recipes and end.")
def train(recipe, out, overrides, resume, device, list_recipes) -> None:
    """Train a recogniser: RECIPE is a name such as digits/erm, or a YAML file of your own.

    Several GPUs: torchrun --nproc-per-node 4 -m fastlt train RECIPE --out DIR

    Example: fastlt train cifar10_lt/erm --set data.path=data/cifar10-lt --set train.epochs=30 --out runs/cifar10
    """
    if list_recipes:
        from fastlt.resources import list_recipes as names

        click.echo("\n".join(names()))
        return
    if out is None or (recipe is None) is not resume:
        raise click.UsageError("give RECIPE and --out to begin a run, or --resume and --out to go on with one")
    from fastlt.commands.runs import train_run

    train_run(recipe, out, list(overrides), resume, device, console())


@click.command("eval")
@click.argument("run", type=FOLDER)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--data", type=DATA, help="Another data set with the same classes.")
@click.option(
    "--checkpoint", type=click.Choice(["best", "last"]), help="Default: best if a validation split chose one."
)
@click.option("--flip/--no-flip", default=None, help="Score each picture and its mirror. Default: as the run was set.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@json_option
def evaluate(run, split, data, checkpoint, flip, device, json_file) -> None:
    """Measure a trained run on a split, over all classes and by group.

    Example: fastlt eval runs/cifar10 --split test --json test.json
    """
    from fastlt.commands.runs import SplitOfRun, evaluate_run

    what = SplitOfRun(run, split, data, checkpoint, device)
    write_json(json_file, evaluate_run(what, console(), flip))


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("pictures", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="CSV file to write: one row a picture, one column a class.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]))
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
def predict(run, pictures, out, checkpoint, device) -> None:
    """Recognise PICTURES, files or folders, with a trained run.

    Example: fastlt predict runs/cifar10 photos/ --out labels.csv
    """
    from fastlt.commands.runs import predict_files

    predict_files(run, list(pictures), out, checkpoint, device, console())


@click.command()
@click.argument("spec", required=False)
@click.option("--out", type=FOLDER, help="Folder of the runs and of the table.")
@set_option
@click.option("--row", "rows", multiple=True, metavar="LABEL", help="Run this row alone; may be given again.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]))
@click.option("--list", "list_sweeps", is_flag=True, help="List the sweeps and end.")
@json_option
def sweep(spec, out, overrides, rows, device, list_sweeps, json_file) -> None:
    """Train every row of a table with every seed: SPEC is a name such as voc_lt/ablation, or a YAML file of your own.

    The same command again goes on where it was stopped, and trains nothing that is finished. --set holds for all
    rows, except for what a row sets itself.

    Example: fastlt sweep digits_scenes/ablation --set data.path=data/digits-scenes --out runs/ablation
    """
    if list_sweeps:
        from fastlt.resources import list_sweeps as names

        click.echo("\n".join(names()))
        return
    if spec is None or out is None:
        raise click.UsageError("give SPEC and --out")
    from fastlt.commands.sweep import run_sweep

    write_json(json_file, run_sweep(spec, out, list(overrides), device, console(), rows))
