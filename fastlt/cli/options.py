"""What the commands have in common: kinds of values, options, and where results go."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


class _Place(click.ParamType):
    """A folder, or an address such as s3://bucket/set."""

    name = "folder or address"

    def convert(self, value, param, ctx):
        from fastlt.address import located

        return located(value)


DATA = _Place()

json_option = click.option("--json", "json_file", type=FOLDER, help="Also write the figures to this file.")
set_option = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting.")


def write_json(path: Path | None, value: dict) -> None:
    """Writes a command's figures where --json says, if it is given."""
    from fastlt.files import write_text

    if path:
        write_text(path, json.dumps(value, indent=2) + "\n")


def console():
    """Where a command prints."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(highlight=False, width=width)
