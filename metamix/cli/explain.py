"""metamix explain: one row in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from metamix.cli.help import Command
from metamix.cli.json_output import json_option, print_json, records
from metamix.cli.loading import load_model, training_columns, trust_option
from metamix.cli.output import columns, number, say
from metamix.cli.reading import comma_separated, row_options, take_reading_options
from metamix.cli.regimes import n_regimes
from metamix.cli.tables import read_for_prediction, say_lines, table_warnings
from metamix.progress import show_progress

__all__ = ["explain"]

#: Rows at which conditions and borders are looked for; more are drawn at random.
MOST_ROWS = 5_000
#: Columns with less weight are not shown.
NEGLIGIBLE = 0.005


@click.command(cls=Command, example="metamix explain houses.mix houses.csv --row 17 --id house")
@click.argument("file")
@click.argument("table")
@click.option("--row", type=click.IntRange(min=0), required=True, metavar="N", help="Row of TABLE, counted from 0.")
@click.option("--target-number", "target", type=click.IntRange(min=0), default=0, metavar="T",
              help="Which target, counted from 0, where the mixture has several.")  # fmt: skip
@json_option
@trust_option
@row_options
def explain(file: str, table: str, row: int, target: int, as_json: bool, trust: tuple[str, ...], **given: Any) -> None:
    """Explain the prediction for one row of TABLE.

    Says what the prediction is the sum of, which regime (or model) leads in the row and under which conditions, and
    what would have to change in one column for another one to lead. Conditions and changes are looked for in the rows
    of TABLE: give the table that the mixture was fitted to, or at least 20 rows like it.
    """
    reading = take_reading_options(given)
    mixture = load_model(file, comma_separated(trust))
    if not hasattr(mixture, "explain"):
        raise click.ClickException(f"{file} holds a {type(mixture).__name__}, whose predictions cannot be explained")
    with show_progress(Path(table).name, "reading"):
        rows, identifiers, lines = read_for_prediction(table, reading)
        if row >= len(rows):
            raise click.UsageError(f"--row {row}: {table} has {len(rows)} rows, from 0 to {len(rows) - 1}")
        X = training_columns(table, rows, mixture, identifiers)
    with show_progress(Path(table).name, "explanation"), table_warnings(lines):
        found = mixture.explain(_take(X, [row]), background=_some(X), target=target)[0]
    say_lines(lines, err=True)
    name = None if identifiers is None else str(identifiers.iloc[row])
    if as_json:
        print_json(_object(found, file, table, row, name))
        return
    say(f"Row {row} of {table}{'' if identifiers is None else f' ({identifiers.name} {name})'}")
    click.echo()
    for line in _parts(found):
        click.echo(line)
    click.echo()
    first, *others = found.sentences
    say(f"In the specialised mixture, {first}" if n_regimes(mixture) > 1 else first)
    for sentence in others:
        say(sentence)
    if found.conditions is None:
        say(f"{table} has too few rows to say under which conditions: give 20 or more, such as those of the fit.")


def _take(X: Any, rows: Any) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _some(X: Any) -> Any:
    """The rows, or so many of them drawn at random as are enough for conditions."""
    import numpy as np

    if len(X) <= MOST_ROWS:
        return X
    return _take(X, np.sort(np.random.default_rng(0).choice(len(X), MOST_ROWS, replace=False)))


def _parts(found: Any) -> list[str]:
    """A table of what the prediction is the sum of."""
    what = "prediction" if found.label is None else f"probability of {found.label}"
    table = found.frame()
    shown = table[table["weight"] >= NEGLIGIBLE].sort_values("weight", ascending=False, kind="stable")
    smallest = abs(found.prediction)
    rows = [
        (one.column, f"{100 * one.weight:.1f} %", number(one.prediction, smallest), number(one.contribution, smallest))
        for one in shown.itertuples()
    ]
    rest = found.prediction - float(shown["contribution"].sum())
    if len(shown) < len(table) and f"{100 * table['weight'].drop(shown.index).sum():.1f}" != "0.0":
        rows.append(("others", f"{100 * table['weight'].drop(shown.index).sum():.1f} %", "", number(rest, smallest)))
    rows.append((what, "100 %", "", number(found.prediction, smallest)))
    return list(columns(("", "weight", "predicts", "weight × prediction"), rows, right=(1, 2, 3)))


def _object(found: Any, file: str, table: str, row: int, name: str | None) -> dict[str, Any]:
    border = found.border
    return {
        "file": file, "table": table, "row": row, "id": name, "prediction": found.prediction, "label": found.label,
        "parts": records(found.frame()), "regime": found.regime, "regime_weight": found.regime_weight,
        "conditions": found.conditions, "conditions_agree": found.conditions_agree,
        "border": None if border is None else vars(border), "categories": [vars(one) for one in found.categories],
        "text": str(replace(found, row=row)),
    }  # fmt: skip
