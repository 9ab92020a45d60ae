"""build, inspect, verify, augment: data sets."""

from __future__ import annotations

from pathlib import Path

import click

from fastlt.cli.options import DATA, FOLDER, console, json_option, write_json
from fastlt.errors import UserError


@click.command()
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

    report = build_data_set(source, root, out, console(), **settings)
    write_json(json_file, report)


@click.command()
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
    console().print(data_table(found))
    if plot:
        from fastlt.report.plots import save_long_tail

        save_long_tail(found, plot)
    if html:
        from fastlt.report.data_page import write_data_page

        write_data_page(data, found, html, seed, before)
    measured = {}
    if pixels:
        from fastlt.commands.data import measure_pixels

        measured = {"pixels": measure_pixels(data, console())}
    write_json(json_file, found.as_dict() | measured)


@click.command()
@click.argument("data", type=DATA)
@json_option
def verify(data: Path, json_file: Path | None) -> None:
    """Check every byte of a data set against its checksums.

    Example: fastlt verify data/cifar10-lt
    """
    from fastlt.commands.data import verify_data_set

    found = verify_data_set(data, console())
    write_json(json_file, found)
    if found["problems"]:
        raise UserError(f"{data}: {len(found['problems'])} faults; build the data set again, or copy it again")


@click.group()
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
@click.argument("data", type=DATA)
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
    write_json(json_file, make_by_wgan(data, out, settings, console(), **how))
