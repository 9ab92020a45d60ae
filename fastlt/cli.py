"""The commands: each parses, calls one function and renders what it returns.

Heavy packages are imported inside the commands that use them, so that help, `inspect` and wrong usage answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from fastlt import __version__
from fastlt.errors import UserError

FOLDER = click.Path(path_type=Path)


class _Place(click.ParamType):
    """A folder, or an address such as s3://bucket/set."""

    name = "folder or address"

    def convert(self, value, param, ctx):
        from fastlt.address import located

        return located(value)


DATA = _Place()
BENCHES = (
    "loader",
    "losses",
    "step",
    "train",
    "build",
    "reader",
    "feeding",
    "index",
    "wgan",
)  # fastlt.bench's subjects
INTERRUPTED = 130  # the shell's status for Ctrl-C


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastlt")
def commands() -> None:
    """Trains image recognisers on long-tailed data, single-label and multi-label.

    Begin with `fastlt demo`, or: `fastlt build`, `fastlt train`, `fastlt eval`, `fastlt predict`. An error ends in one
    line; `--debug` shows where it came from.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; exit status 0, 1 (it failed: one line says why), 2 (used wrongly) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        status = commands.main(arguments, prog_name="fastlt", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _say("stopped", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (UserError, OSError) as error:
        if debug:
            raise
        status = _say(f"error: {error}", 1)
    sys.exit(status or 0)


def _say(line: str, status: int) -> int:
    click.echo(line, err=True)
    return status


def _write_json(path: Path | None, value: dict) -> None:
    from fastlt.files import write_text

    if path:
        write_text(path, json.dumps(value, indent=2) + "\n")


def _console():
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(highlight=False, width=width)


json_option = click.option("--json", "json_file", type=FOLDER, help="Also write the figures to this file.")
set_option = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting.")


@commands.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Where results go.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each run, for a shorter or longer demo.")
def demo(out: Path, steps: int | None) -> None:
    """Build, train, evaluate and compare on real handwritten digits, in a few minutes on a CPU.

    Example: fastlt demo
    """
    from fastlt.commands.demo import run_demo

    run_demo(out, steps, _console())


@commands.command()
@click.argument("source")
@click.option("--root", type=DATA, help="Folder or archive that holds the data; digits needs none.")
@click.option("--out", type=DATA, required=True, help="Folder or address to write: train/, val/, test/.")
@click.option("--recipe", help="none, exponential, step, pareto, voc-lt, coco-lt or ids; default: the source's own.")
@click.option("--imbalance", type=float, help="Largest class over the smallest, for exponential, step and pareto.")
@click.option("--largest", type=int, help="Images of the largest class; default: all, 800 (voc-lt), 1200 (coco-lt).")
@click.option("--ids", type=FOLDER, help="File that names the training images that stay, one id a line.")
@click.option("--hide", metavar="RULE", help="Labels of train that become unknown: rps:SHARE or fpc:NUMBER.")
@click.option("--balance-attributes", is_flag=True, help="Add varied copies of images with rare attributes to train.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--val", type=click.FloatRange(0, 1, max_open=True), help="Share of training carved off as val/.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the source.")
@click.option("--shard-mb", type=float, default=256, show_default=True, help="Largest size of a shard.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default one a core.")
@click.option("--dask", metavar="ADDRESS", help="Let the workers of this Dask cluster (tcp://HOST:8786) do the work.")
@click.option("--max-side", type=int, help="Scale longer pictures down to this many pixels.")
@click.option("--quality", type=int, help="Store every picture as JPEG of this quality.")
@click.option(
    "--raw/--encoded", default=None, help="Store pixels, or encoded files; default: as the source gives them."
)
@click.option(
    "--on-bad",
    type=click.Choice(["fail", "skip", "transcode"]),
    default="transcode",
    show_default=True,
    help="Pictures that not every decoder reads alike: end, leave out, or store as PNG.",
)
@click.option(
    "--check",
    type=click.Choice(["header", "decode"]),
    help="Look at headers and ends of files, or decode every picture; default: decode below 100,000 pictures.",
)
@click.option("--overwrite", is_flag=True, help="Replace another data set in OUT.")
@json_option
def build(source, root, out, json_file, **settings) -> None:
    """Turn pictures into a long-tailed data set of HDF5 shards.

    SOURCE is annotation, cifar10, cifar100, coco, corel5k, csv, digits, folder, list, openimages, shards or voc; the
    README says what each reads. A build that was stopped goes on where it was.

    Example: fastlt build cifar10 --root cifar-10-python.tar.gz --out data/cifar10-lt --recipe exponential
    --imbalance 100
    """
    from fastlt.commands.data import build_data_set

    report = build_data_set(source, root, out, _console(), **settings)
    _write_json(json_file, report)


@commands.command()
@click.argument("data", type=DATA)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the streams, and of the pictures shown.")
@click.option("--plot", type=FOLDER, help="Draw the long tail into this .png, .svg or .pdf file.")
@click.option("--html", type=FOLDER, help="Write a page with plots, co-occurrence and pictures to this file.")
@click.option("--before", type=DATA, help="Compare with this other data set, class by class, in the page of --html.")
@click.option("--pixels", is_flag=True, help="Also decode all training pictures: mean and deviation of their pixels.")
@json_option
def inspect(
    data: Path,
    seed: int,
    plot: Path | None,
    html: Path | None,
    before: Path | None,
    pixels: bool,
    json_file: Path | None,
) -> None:
    """Show the classes of a data set, its long tail, and the label distribution that each stream makes of it.

    Example: fastlt inspect data/cifar10-lt --html cifar10-lt.html
    """
    if before and not html:
        raise click.UsageError("--before draws into the page of the data set: give --html too")
    from fastlt.inspection import inspect as look
    from fastlt.report.tables import data_table

    found = look(data, seed)
    _console().print(data_table(found))
    if plot:
        from fastlt.report.plots import save_long_tail

        save_long_tail(found, plot)
    if html:
        from fastlt.report.data_page import write_data_page

        write_data_page(data, found, html, seed, before)
    measured = {}
    if pixels:
        from fastlt.commands.data import measure_pixels

        measured = {"pixels": measure_pixels(data, _console())}
    _write_json(json_file, found.as_dict() | measured)


@commands.command()
@click.argument("data", type=DATA)
@json_option
def verify(data: Path, json_file: Path | None) -> None:
    """Check every byte of a data set against its checksums.

    Example: fastlt verify data/cifar10-lt
    """
    from fastlt.commands.data import verify_data_set

    found = verify_data_set(data, _console())
    _write_json(json_file, found)
    if found["problems"]:
        raise UserError(f"{data}: {len(found['problems'])} faults; build the data set again, or copy it again")


@commands.group()
def augment() -> None:
    """Make more training pictures out of those of a data set.

    Example: fastlt augment ml-wgan data/corel5k --below 20 --out data/corel5k-made
    """


def _size(_context, _option, text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise click.BadParameter("give height x width in pixels, such as 128x192")
    return int(height), int(width)


@augment.command("ml-wgan")
@click.argument("data", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder to write: train/.")
@click.option("--below", type=click.IntRange(min=2), help="Only images with a class of fewer images; default: all.")
@click.option("--iterations", type=click.IntRange(min=3), default=1001, show_default=True)
@click.option("--size", callback=_size, default="128x192", show_default=True, help="Of pictures, multiples of 32.")
@click.option("--channels", type=click.IntRange(min=1), default=64, show_default=True, help="Of the largest map.")
@click.option("--at-once", type=click.IntRange(min=1), help="Images trained at once; default: 64 on a GPU, 1 on a CPU.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--quality", type=int, help="Store JPEG of this quality; default: PNG, which loses nothing.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: cuda if there is a GPU.")
@click.option("--overwrite", is_flag=True, help="Replace another data set in OUT.")
@json_option
def ml_wgan(data, out, size, iterations, channels, seed, json_file, **how) -> None:
    """Train a GAN for each training image of DATA, and write the three pictures that it makes in the end.

    ML-WGAN-GP: Wasserstein GANs with gradient penalty, many trained at once as one network. The pictures have their
    image's labels and the ids IMAGE#wgan-ITERATION. What was stopped goes on after the last group of images.

    Example: fastlt augment ml-wgan data/corel5k --below 20 --out data/corel5k-made
    """
    from fastlt.commands.augment import make_by_wgan
    from fastlt.wgan.settings import Settings

    height, width = size
    settings = Settings(iterations=iterations, height=height, width=width, channels=channels, seed=seed)
    _write_json(json_file, make_by_wgan(data, out, settings, _console(), **how))


@commands.command()
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

    train_run(recipe, out, list(overrides), resume, device, _console())


@commands.command("eval")
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
    _write_json(json_file, evaluate_run(what, _console(), flip))


@commands.command()
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

    predict_files(run, list(pictures), out, checkpoint, device, _console())


@commands.command()
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
    _write_json(json_file, thresholds_of_run(what, _console(), not grid, folds))


@commands.command()
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

    _write_json(json_file, draw_gradients(list(recipes), list(overrides), plot, _console()))


@commands.command()
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

    _write_json(json_file, prior_of_runs(list(runs), original, checkpoint, device, _console()))


def _temperatures(_context, _option, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < float("inf") for value in values):
        raise click.BadParameter("give numbers above 0 with commas between, such as 1,3,6")
    return values


@commands.command("virtual-examples")
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

    _write_json(json_file, virtual_examples_of_run(run, temperatures, checkpoint, device, _console()))


@commands.command()
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

    _write_json(json_file, run_sweep(spec, out, list(overrides), device, _console(), rows))


@commands.command()
@click.argument("what", required=False, type=click.Choice([*BENCHES, "all"]))
@click.option("--data", type=FOLDER, help="Data set to read; default: photographs made into one for the occasion.")
@json_option
@click.option("--out", type=FOLDER, help="Folder for bench.json, bench.md (a table) and bench.png (a plot).")
@click.option("--compare", nargs=2, type=FOLDER, metavar="OLD NEW", help="Two JSON files: what got slower?")
def bench(what, data, json_file, out, compare) -> None:
    """Time a part side by side with its plain counterpart and with what the machine allows: the loader, the losses, the
    training step, whole training, building, the shard reader, feeding DALI, a large index, GANs.

    `--compare` runs nothing; it fails where something got slower by more than the runs vary in themselves.

    Example: fastlt bench loader --json loader.json
    """
    if compare:
        from fastlt.bench.compare import show

        return show(*compare, _console())
    if what is None:
        raise click.UsageError(f"give one of {', '.join(BENCHES)}, all, or --compare OLD NEW")
    from fastlt.bench import run

    found = run(what, data, _console())
    _write_json(json_file, found)
    if out:
        from fastlt.bench.tables import write_report

        write_report(found, out)
        _write_json(out / "bench.json", found)


@commands.command()
@json_option
def doctor(json_file: Path | None) -> None:
    """Say what is installed, on which device things run, and what to do about what is missing.

    Example: fastlt doctor
    """
    from dataclasses import asdict

    from fastlt.doctor import examine, show

    findings = examine()
    show(findings, _console())
    _write_json(json_file, {"findings": [asdict(finding) for finding in findings]})
