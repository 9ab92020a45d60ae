"""bench, doctor: the machine."""

from __future__ import annotations

from pathlib import Path

import click

from fastlt.cli.options import FOLDER, console, json_option, write_json

# The subjects of fastlt.bench, which imports torch.
BENCHES = ("loader", "losses", "build", "reader", "feeding", "index", "wgan", "step", "train")


@click.command()
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

        return show(*compare, console())
    if what is None:
        raise click.UsageError(f"give one of {', '.join(BENCHES)}, all, or --compare OLD NEW")
    from fastlt.bench import run

    found = run(what, data, console())
    write_json(json_file, found)
    if out:
        from fastlt.bench.tables import write_report

        write_report(found, out)
        write_json(out / "bench.json", found)


@click.command()
@json_option
def doctor(json_file: Path | None) -> None:
    """Say what is installed, on which device things run, and what to do about what is missing.

    Example: fastlt doctor
    """
    from dataclasses import asdict

    from fastlt.doctor import examine, show

    findings = examine()
    show(findings, console())
    write_json(json_file, {"findings": [asdict(finding) for finding in findings]})
