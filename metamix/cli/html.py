"""Reports of the commands: checked before a long computation, written with the call and what was noticed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from metamix.cli.options import output_file
from metamix.cli.output import say
from metamix.cli.tables import TableData
from metamix.cli.wording import in_options
from metamix.progress import show_progress

__all__ = ["check_report", "notes_of", "write_report"]


def check_report(path: str, force: bool, *inputs: str, option: str = "--report") -> None:
    """Raise an error if a report cannot be written there.

    Raises
    ------
    metamix.persistence.ModelFileError, click.UsageError
        As `output_file` does.
    click.ClickException
        If jinja2 is not installed.
    """
    from metamix.inspection.report.page import load_template

    output_file(path, force, *inputs, option=option)
    try:
        load_template()
    except ImportError as error:
        raise click.ClickException(str(error)) from None


def notes_of(data: TableData) -> list[str]:
    """What was noticed when a table was read; how each column is read has a table of its own in the report."""
    return [in_options(line, of_table=True) for line in data.lines if not line.startswith("  ")]


def write_report(context: click.Context, mixture: Any, X: Any, y: Any, path: str, **more: Any) -> None:
    """Write a report with the command as it was typed, and say so."""
    from metamix.inspection.report import report

    words = context.find_root().obj
    with show_progress(Path(path).name, "report"):
        report(mixture, X, y, path, call=shlex.join(["metamix", *words]), **more)
    say(f"Report written to {path} ({Path(path).stat().st_size / 1e6:.1f} MB).", err=True)
