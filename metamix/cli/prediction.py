"""metamix predict: predictions for the rows of a table, with intervals and weights of the gate."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import click

from metamix.cli.help import Command
from metamix.cli.json_output import json_option, print_json, records
from metamix.cli.loading import load_model, training_columns, trust_option
from metamix.cli.options import force_option, output_file
from metamix.cli.output import say
from metamix.cli.reading import ReadingOptions, comma_separated, row_options, take_reading_options
from metamix.cli.tables import as_missing, is_large, read_for_prediction, say_lines, table_warnings
from metamix.progress import show_progress

__all__ = ["predict", "prediction_frame"]


COLUMNS = (
    ("the column of --id", "as it is written in TABLE"),
    ("prediction", "a number; for classes: class, and probability_LABEL of each"),
    ("lower_90, upper_90", "with --interval 0.9"),
    ("weight_MODEL", "with --weights; the weights of a row sum to one"),
)


def _check_share(_: click.Context, __: click.Parameter, share: float | None) -> float | None:
    if share is not None and not 0 < share < 1:  # which nan is not either
        raise click.BadParameter(f"{share:g} is no probability between 0 and 1, such as 0.9")
    return share


@click.command(
    cls=Command,
    example="metamix predict houses.mix new.csv --id house --interval 0.9 --out p.csv",
    listing=("Columns of the output", COLUMNS),
)
@click.argument("file")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE…")
@click.option(
    "--interval", type=float, metavar="SHARE", callback=_check_share,
    help="Also two bounds between which the value lies with this probability, such as 0.9; for numbers.",
)  # fmt: skip
@click.option("--weights", "with_weights", is_flag=True, help="Also the weight of each model in each prediction.")
@click.option("--out", metavar="FILE", help="Write predictions to this file, CSV or .parquet, not to standard output.")
@force_option
@json_option
@trust_option
@row_options
def predict(
    file: str,
    tables: tuple[str, ...],
    interval: float | None,
    with_weights: bool,
    out: str | None,
    force: bool,
    as_json: bool,
    trust: tuple[str, ...],
    **given: Any,
) -> None:
    """Predict the rows of TABLE, as CSV or Parquet.

    Several Parquet files, or a folder of them, are one table, of which some rows are in memory at a time. Columns are
    matched by name, in any order; additional columns, such as the target, are ignored. Of several targets or labels
    names end in the name of each, or in its number, as in prediction_0. --json has the same names, and with --out no
    rows.
    """
    output = None if out is None else output_file(out, force, file, *tables)
    reading = take_reading_options(given)
    mixture = load_model(file, comma_separated(trust))
    if interval is not None and not hasattr(mixture, "predict_interval"):
        what = "classes, which have probabilities" if hasattr(mixture, "classes_") else "without a distribution"
        raise click.UsageError(f"--interval is for numbers, and {file} predicts {what}: leave it out")
    if is_large(tables):
        rows: Any = _Batches(mixture, tables, reading, interval, with_weights)
    else:
        rows = _Whole(mixture, tables[0], reading, interval, with_weights)
    if output is not None:
        with output.open() as stream, show_progress(Path(tables[0]).name, "prediction"):
            if str(out).lower().endswith(".parquet"):
                n, columns = _to_parquet(rows.frames(), stream, rows.types)
            else:
                n, columns = _to_csv(rows.frames(), stream)
        say_lines(rows.lines, err=True)
        say(f"{n} predictions written to {out}.", err=True)
    elif as_json:
        frame = rows.whole()
        n, columns = len(frame), list(frame.columns)
        say_lines(rows.lines, err=True)
    else:
        n_shown = 0
        for i, frame in enumerate(rows.frames()):
            say_lines(rows.lines[n_shown:], err=True)
            n_shown = len(rows.lines)
            frame.to_csv(sys.stdout, index=False, header=i == 0, lineterminator="\n")
    if as_json:
        table = tables[0] if len(tables) == 1 else list(tables)
        found = {"file": file, "table": table, "rows": n, "columns": columns, "out": out, "notes": rows.lines}
        print_json(found | ({} if output is not None else {"predictions": records(frame)}))


@dataclass
class _Whole:
    """Predictions of a table that is read as a whole; `lines` is what was noticed."""

    mixture: Any
    table: str
    reading: ReadingOptions
    interval: float | None
    weights: bool
    lines: list[str] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)

    def frames(self) -> Iterator[Any]:
        yield self.whole()

    def whole(self) -> Any:
        rows, identifiers, lines = read_for_prediction(self.table, self.reading)
        self.lines += lines
        X = training_columns(self.table, rows, self.mixture, identifiers)
        with table_warnings(self.lines):
            frame = prediction_frame(self.mixture, X, self.interval, self.weights)
        return _with_identifiers(frame, identifiers, self.table)


@dataclass
class _Batches:
    """Predictions of Parquet files, some rows at a time.

    `lines` is what was noticed, of each column where it was noticed first; `types` has the Arrow type of --id.
    """

    mixture: Any
    tables: Sequence[str]
    reading: ReadingOptions
    interval: float | None
    weights: bool
    lines: list[str] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)

    def frames(self) -> Iterator[Any]:
        from metamix.data.parquet import scan

        if self.reading.decides_formats:
            raise click.UsageError(
                "Parquet files have types: --types, --decimal, --thousands and --date-format are for text"
            )
        table = scan(list(self.tables))
        label, identifier = str(self.tables[0]), self.reading.identifier
        table = table.without(comma_separated(self.reading.drop))
        if identifier is not None:
            self.types[identifier] = table.type_of(identifier)
        needed = getattr(self.mixture, "feature_names_in_", None)
        if needed is not None:
            table = table.without([name for name in table.columns if name not in {*needed, identifier}])
        noted_columns: set[str] = set()
        begin = 0
        for rows in table.batches():
            identifiers = None if identifier is None else rows[identifier]
            noted: list[str] = []
            with table_warnings(noted):
                X = training_columns(label, as_missing(rows, self.reading), self.mixture, identifiers)
                frame = prediction_frame(self.mixture, X, self.interval, self.weights)
            end = begin + len(rows)
            where = "" if end - begin == len(table) else f"Rows {begin + 1} to {end}, "
            for note in noted:
                about = note.partition(":")[0]  # a note begins with the name of its column
                if about not in noted_columns:
                    noted_columns.add(about)
                    self.lines.append(where + note)
            begin = end
            yield _with_identifiers(frame, identifiers, label)

    def whole(self) -> Any:
        import pandas as pd

        return pd.concat(self.frames(), ignore_index=True)


def _with_identifiers(frame: Any, identifiers: Any, table: str) -> Any:
    """Predictions with the column of --id in front."""
    if identifiers is not None:
        if identifiers.name in frame.columns:
            raise click.UsageError(
                f"--id {identifiers.name!r} is also a column of the predictions: rename it in {table}"
            )
        frame.insert(0, identifiers.name, identifiers.to_numpy())
    return frame


def _to_csv(frames: Iterator[Any], stream: Any) -> tuple[int, list[str]]:
    """Write frames as one CSV file; the number of rows, and the names of the columns."""
    n, columns = 0, list[str]()
    for frame in frames:
        frame.to_csv(stream, index=False, header=not columns, lineterminator="\n")
        n, columns = n + len(frame), list(frame.columns)
    return n, columns


def _to_parquet(frames: Iterator[Any], stream: Any, types: dict[str, Any]) -> tuple[int, list[str]]:
    """Write frames as one Parquet file, each a row group; types of columns are those given, or of the first frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(frames)
    found = pa.Schema.from_pandas(first, preserve_index=False).remove_metadata()
    schema = pa.schema([(one.name, types.get(one.name, one.type)) for one in found])
    n = 0
    with pq.ParquetWriter(stream, schema) as writer:
        for frame in chain([first], frames):
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
            n += len(frame)
    return n, list(first.columns)


def prediction_frame(mixture: Any, X: Any, interval: float | None = None, weights: bool = False) -> Any:
    """Predictions for n rows side by side: numbers or classes, bounds, weights.

    Parameters
    ----------
    mixture : fitted mixture
    X : table of shape (n, d)
    interval : float, optional
        Coverage; the bounds are called after it in per cent, "lower_90" and "upper_90".
    weights : bool
        Whether to add the weights of the columns of `gate_weights`.

    Returns
    -------
    DataFrame of n rows
        Names end in the name or number of the target where there are several, and in that of the label where labels
        are predicted.
    """
    import pandas as pd

    found: dict[str, Any] = {}
    if hasattr(mixture, "label_names_"):
        endings = [f"_{label}" for label in mixture.label_names_]
        found |= dict(zip(mixture.label_names_, mixture.predict(X).T, strict=True))
        found |= _spread("probability", endings, mixture.predict_proba(X))
    elif hasattr(mixture, "classes_"):
        endings = [""]
        probabilities = mixture.predict_proba(X)
        found["class"] = mixture.classes_[probabilities.argmax(axis=1)]
        found |= _spread("probability", [f"_{label}" for label in mixture.classes_], probabilities)
    else:
        predictions = mixture.predict(X)
        names = getattr(mixture, "target_names_", None)
        several = predictions.ndim == 2
        endings = [f"_{one}" for one in names or range(predictions.shape[1])] if several else [""]
        found |= _spread("prediction", endings, predictions)
        if interval is not None:
            bounds = mixture.predict_interval(X, interval)
            for side, name in enumerate(("lower", "upper")):
                found |= _spread(f"{name}_{100 * interval:g}", endings, bounds[:, side])
    if weights:
        of_columns = mixture.gate_weights(X)
        for k, name in enumerate(_column_names(mixture, of_columns.shape[1])):
            found |= _spread(f"weight_{name}", endings, of_columns[:, k])
    return pd.DataFrame(found)


def _spread(name: str, endings: Sequence[str], values: Any) -> dict[str, Any]:
    """Columns (n,) or (n, T) by name, one for each ending."""
    columns = values.T if values.ndim == 2 else [values]
    return {f"{name}{ending}": column for ending, column in zip(endings, columns, strict=True)}


def _column_names(mixture: Any, K: int) -> list[str]:
    """Names of the columns of `gate_weights`; experts of a network have none and are numbered from 1."""
    named = getattr(mixture, "named_experts_", None)
    return [f"expert {k + 1}" for k in range(K)] if named is None else list(named)
