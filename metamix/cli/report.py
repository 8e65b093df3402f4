"""metamix report: one HTML file about a saved mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metamix.cli.help import Command
from metamix.cli.html import check_report, notes_of, write_report
from metamix.cli.loading import load_model, training_columns, trust_option
from metamix.cli.options import force_option
from metamix.cli.reading import comma_separated, reading_options, take_reading_options
from metamix.cli.tables import read, say_lines, table_columns, table_warnings
from metamix.progress import show_progress

__all__ = ["report"]


@click.command(cls=Command, example="metamix report houses.mix houses.csv --out houses.html")
@click.argument("file")
@click.argument("table")
@click.option("--out", required=True, metavar="FILE.html", help="File for the report.")
@click.option("--target", metavar="COLUMN", help="Column that is predicted; default: that of metamix fit.")
@force_option
@trust_option
@reading_options
@click.pass_context
def report(
    context: click.Context,
    /,
    file: str,
    table: str,
    out: str,
    target: str | None,
    force: bool,
    trust: tuple[str, ...],
    **given: Any,
) -> None:
    """Report on a mixture and the rows of TABLE: one HTML file.

    With the table that the mixture was fitted to, losses are out of fold. The file holds the verdict, who is trusted
    where, the candidates, what each regime says, calibration and how the table was read. It needs no network.
    """
    from metamix.persistence import read_manifest

    reading = take_reading_options(given)
    check_report(out, force, file, table, option="--out")
    mixture = load_model(file, comma_separated(trust))
    names, noted = table_columns(table, reading), read_manifest(file)["notes"] or {}
    if target is None:
        target = _target(table, names, mixture, noted)
    task = "classification" if hasattr(mixture, "classes_") else "regression"
    time = noted.get("time")  # rows are known as those of the fit by their order
    with show_progress(Path(table).name, "reading"):
        data = read(table, reading, target, task, time=time if time in names and time != target else None)
        X = training_columns(table, data.X, mixture)
    lines: list[str] = []
    with table_warnings(lines):
        write_report(context, mixture, X, data.y, out, notes=[*notes_of(data), *lines])
    say_lines(lines, err=True)


def _target(table: str, names: list[str], mixture: Any, noted: dict[str, str]) -> str:
    """The column that `metamix fit` noted in the file, else the only one that the mixture was not fitted on.

    Raises
    ------
    click.UsageError
        If the noted one is not there, or of the others there are none or several.
    """
    from metamix.data.frames import listed

    if "target" in noted:
        if noted["target"] in names:
            return noted["target"]
        raise click.UsageError(
            f"{table} has no column {noted['target']!r}, which the mixture predicts: give a table with it, or name "
            "that of this table by --target COLUMN"
        )
    known = getattr(mixture, "feature_names_in_", None)
    others = [name for name in names if known is None or name not in set(known)]
    if not others:
        raise click.UsageError(
            f"{table} has no column beside those that the mixture was fitted on: give a table with the target"
        )
    if len(others) > 1:
        raise click.UsageError(
            f"{table} has {len(others)} columns that the mixture was not fitted on, {listed(others)}, and one of them "
            "is its target: give --target COLUMN"
        )
    return others[0]
