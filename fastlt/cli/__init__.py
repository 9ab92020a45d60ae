"""The commands: each parses, calls one function and renders what it returns.

Heavy packages are imported inside the commands that use them, so that help, `inspect` and wrong usage answer at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import partial

import click

from fastlt import __version__
from fastlt.cli import data, findings, machine, runs
from fastlt.errors import UserError, UserNotice

INTERRUPTED = 130  # the shell's status for Ctrl-C


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fastlt")
def commands() -> None:
    """Trains image recognisers on long-tailed data, single-label and multi-label.

    Begin with `fastlt demo`, or: `fastlt build`, `fastlt train`, `fastlt eval`, `fastlt predict`. An error ends in one
    line; `--debug` shows where it came from.
    """


for command in (
    *(data.build, data.inspect, data.verify, data.augment),
    *(runs.demo, runs.train, runs.evaluate, runs.predict, runs.sweep),
    *(findings.thresholds, findings.gradients, findings.prior, findings.virtual_examples),
    *(machine.bench, machine.doctor),
):
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; exit status 0, 1 (it failed: one line says why), 2 (used wrongly) or 130 (Ctrl-C)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    warnings.showwarning = partial(_show, warnings.showwarning)
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


def _show(otherwise: Callable, message: Warning | str, category: type[Warning], *place, **named) -> None:
    """Our own warnings in one line, without the place in the program."""
    if issubclass(category, UserNotice):
        _say(f"warning: {message}", 0)
    else:
        otherwise(message, category, *place, **named)


def _say(line: str, status: int) -> int:
    click.echo(line, err=True)
    return status
