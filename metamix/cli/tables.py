"""Reading of tables for the commands: target, groups and weights, and what was noticed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from metamix.cli.output import column_lines, say
from metamix.cli.reading import ReadingOptions, comma_separated
from metamix.cli.wording import in_options, suggestion

__all__ = [
    "TableData", "as_missing", "is_large", "read", "read_for_prediction", "read_in_chunks", "say_lines",
    "table_columns", "table_warnings",
]  # fmt: skip

#: Rows of a table in chunks by which its columns are described.
SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class TableData:
    """A table split into X, target, groups and weights.

    `cleaner` says how the columns of X are to be read, `lines` what was noticed. Of a table that is read in chunks X
    and y are a sample, and `large` is the table without the columns that are left out.
    """

    X: Any
    y: Any
    task: str
    groups: Any = None
    weights: Any = None
    cleaner: Any = None
    lines: Sequence[str] = ()
    large: Any = None

    @property
    def n_rows(self) -> int:
        """Number of rows of the table."""
        return len(self.X if self.large is None else self.large)


def read(
    table: str,
    reading: ReadingOptions,
    target: str,
    task: str | None = None,
    groups: str | None = None,
    weights: str | None = None,
    time: str | None = None,
) -> TableData:
    """Read a table and split it; with a column for the time its rows are put into order.

    Raises
    ------
    TableError
        If that is impossible.
    """
    frame, decimal, notes = _read_file(table, reading)
    name = "standard input" if table == "-" else Path(table).name
    return _split(name, frame, decimal, notes, reading, target, task, groups, weights, time)


def read_in_chunks(
    tables: Sequence[str],
    reading: ReadingOptions,
    memory: str | None,
    target: str,
    task: str | None = None,
    groups: str | None = None,
    weights: str | None = None,
) -> TableData:
    """A table of Parquet files that are read in chunks, with what a random sample of its rows shows.

    Raises
    ------
    TableError
        If that is impossible.
    """
    from metamix.data.frames import TableError
    from metamix.data.parquet import scan

    table = scan(list(tables), memory)
    for option, name in (("--target", target), ("--groups", groups), ("--weights", weights)):
        if name is not None and name not in table.columns:
            raise TableError(f"{option} {name!r} is not a column of the table{suggestion(name, table.columns)}")
    for name in comma_separated(reading.drop):
        if name not in table.columns:
            raise click.UsageError(f"--drop {name!r} is not a column of the table{suggestion(name, table.columns)}")
    frame = table.without(comma_separated(reading.drop)).sample(SAMPLE_ROWS)
    label = f"{Path(tables[0]).name} and {len(table.paths) - 1} more" if len(table.paths) > 1 else Path(tables[0]).name
    data = _split(label, frame, ".", [], reading, target, task, groups, weights, None)
    if data.task == "regression" and frame[target].dtype.kind not in "iufb":
        raise TableError(f"the target {target!r} is written as text: a table that is read in chunks needs numbers")
    left_out = comma_separated(reading.drop) + ([] if reading.identifier is None else [reading.identifier])
    lines = [f"{len(table)} rows in {len(table.paths)} file(s); what follows is of {len(frame)} of them.", *data.lines]
    return replace(data, lines=lines, large=table.without(left_out))


def is_large(tables: Sequence[str], memory: str | None = None) -> bool:
    """Whether tables are read in chunks: several files, a folder, a file too large, and Parquet if memory is given."""
    from metamix.data.files import too_large

    if len(tables) > 1 or Path(tables[0]).is_dir():
        return True
    path = Path(tables[0])
    return path.suffix.lower() == ".parquet" and path.is_file() and (memory is not None or too_large(path))


def _split(
    label: str,
    frame: Any,
    decimal: str,
    notes: list[str],
    reading: ReadingOptions,
    target: str,
    task: str | None,
    groups: str | None,
    weights: str | None,
    time: str | None,
) -> TableData:
    """Split a table, and notice what is odd about its columns."""
    from metamix.data.column_reading import LEFT_OUT
    from metamix.data.frames import TableError
    from metamix.data.tables import check_classes, leave_out_rows, recognise_task, split_target

    by_option = {"--target": target, "--groups": groups, "--weights": weights, "--id": reading.identifier,
                 "--time": time}  # fmt: skip
    _check_names(by_option, reading, frame)
    X, y = split_target(frame, target)
    with table_warnings(notes):
        frame, y, missing = leave_out_rows(X, _typed(y, reading, decimal))
        if time is not None:
            with table_warnings([]):  # how a date is written is said with the other columns
                moment = _moments(_column(frame, "--time", time), reading, decimal)
            order = moment.argsort(kind="stable")
            frame, y = frame.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)
            is_date = moment.dtype.kind == "M"
            notes.append(_order_note(time, moment, is_date))
        weight = _weights(_column(frame, "--weights", weights), reading, decimal)
    if missing:
        notes.append(f"{missing} of {len(X)} rows have no {target}, and are left out.")
    group = _column(frame, "--groups", groups)
    if group is not None:
        group = _typed(group, reading, decimal, "category").to_numpy(dtype=object)
    kept = (target, time) if time is not None and is_date else (target,)
    X = frame.drop(columns=[name for name in by_option.values() if name is not None and name not in kept])
    if y.nunique() == 1:
        raise TableError(f"the target {target!r} is {y.iloc[0]} in every row: there is nothing to learn")
    _check_task(task, target, y)
    task = task or recognise_task(y)
    about = f"{label}: {len(X)} rows, {task} of {target}"
    if task == "classification":
        notes += check_classes(y, target)
        about += f" ({y.nunique()} classes)"
    cleaner = reading.cleaner(list(X.columns), decimal).fit(X)
    if all(one.kind in LEFT_OUT for one in cleaner.readings_):
        raise TableError(" ".join([f"{label} has no column left to predict {target!r} from.", *cleaner.notes_]))
    lines = [f"{about}.", *column_lines(cleaner.report(X)), *notes, *cleaner.notes_]
    return TableData(X, y, task, group, weight, cleaner, lines)


def _moments(column: Any, reading: ReadingOptions, decimal: str) -> Any:
    """Values (n,) of the column for the time: numbers, or dates without a time zone."""
    from metamix.data.cells import column_kind
    from metamix.data.frames import TableError

    typed = _typed(column, reading, decimal)
    kind = column_kind(typed)
    if kind not in ("number", "date") or typed.isna().any():
        raise TableError(
            f"--time {column.name!r} has values that are neither numbers nor dates: --date-format FORMAT may say how "
            "dates are written"
        )
    return typed.to_numpy(dtype="datetime64[ns]" if kind == "date" else float)


def _order_note(time: str, moment: Any, is_date: bool) -> str:
    """What is done with the column for the time."""
    ties = len(moment) - len(set(moment.tolist()))
    order = f"Rows are in the order of {time}, and each fold is predicted from the rows before it."
    role = "stays a column to predict from" if is_date else "is no column to predict from"
    equal = f" {ties} rows share their {time} with an earlier one." if ties else ""
    return f"{order}{equal} {time} {role}."


def table_columns(table: str, reading: ReadingOptions) -> list[str]:
    """Names of the columns of a table, without those to drop and that of --id."""
    return [str(name) for name in _read_file(table, reading)[0].columns if name != reading.identifier]


def _check_names(by_option: dict[str, str | None], reading: ReadingOptions, frame: Any) -> None:
    """Raise an error if options name a column twice, or one that is not there."""
    from metamix.data.frames import TableError

    given = [name for name in by_option.values() if name is not None]
    if len(set(given)) < len(given):
        raise TableError(
            f"--target, --groups, --weights, --id and --time must be different columns; got {', '.join(given)}"
        )
    for option, name in by_option.items():
        if option != "--target":
            _column(frame, option, name)
    for name in reading.kinds:
        if name not in frame.columns:
            raise click.UsageError(f"--types {name!r} is not a column of the table{suggestion(name, frame.columns)}")


def _weights(column: Any, reading: ReadingOptions, decimal: str) -> Any:
    """Sample weights (n,) of a column; None for None."""
    from metamix.data.cells import column_kind
    from metamix.data.frames import TableError
    from metamix.data.vectors import as_weights

    if column is None:
        return None
    typed = _typed(column, reading, decimal)
    if column_kind(typed) != "number":
        raise TableError(f"--weights {column.name!r} is not a numeric column")
    try:
        return as_weights(typed.to_numpy(dtype=float), (len(typed),))
    except ValueError as error:
        raise TableError(str(error).replace("sample_weight", f"--weights {column.name!r}")) from None


def read_for_prediction(table: str, reading: ReadingOptions) -> tuple[Any, Any, list[str]]:
    """Columns of a table for prediction, those of --id, and what was noticed; no row is left out.

    Columns stay as they are written, which the mixture reads as it did in training, but for what options say: those
    with numbers and dates that are written in the way of --decimal, --thousands or --date-format, and those of --types.
    """
    frame, decimal, lines = _read_file(table, replace(reading, keep_totals=True))
    identifiers = _column(frame, "--id", reading.identifier)
    for name in reading.kinds:
        if name not in frame.columns:
            raise click.UsageError(f"--types {name!r} is not a column of the table{suggestion(name, frame.columns)}")
    frame = as_missing(frame, reading)
    if reading.decides_formats:
        cleaner = reading.cleaner(list(frame.columns), decimal).fit(frame)
        with table_warnings(lines):
            typed = cleaner.transform(frame)
        names = [one.name for one in cleaner.readings_ if (one.told or one.format is not None) and one.name in typed]
        frame = frame.assign(**{name: typed[name] for name in names})
    return frame, identifiers, lines


def as_missing(frame: Any, reading: ReadingOptions) -> Any:
    """The frame without values that --na names."""
    return frame.mask(frame.astype(str).isin(list(reading.na))) if reading.na else frame


@contextmanager
def table_warnings(lines: list[str]) -> Iterator[None]:
    """Collect warnings about tables as lines."""
    from metamix.data.cleaning import TableWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TableWarning)
        yield
    lines += [str(one.message) for one in caught if issubclass(one.category, TableWarning)]


def say_lines(lines: Sequence[str], *, err: bool = False) -> None:
    """Print lines, wrapped if they are sentences, with options in place of parameters."""
    for line in lines:
        if line.startswith("  "):  # of the table of columns
            click.echo(line, err=err)
        else:
            say(in_options(line, of_table=True), err=err)


def _check_task(task: str | None, target: str, y: Any) -> None:
    """Raise an error if the target cannot be that of the task that was given."""
    from metamix.data.frames import TableError
    from metamix.data.tables import recognise_task

    if task is None:
        return
    is_text = not hasattr(y, "dtype") or y.dtype.kind not in "iufb"
    if task == "regression" and is_text:
        raise TableError(f"--task regression needs numbers, and the target {target!r} has none: leave it out")
    fractions = not is_text and y.dtype.kind == "f" and bool((y % 1 != 0).any())
    if task == "classification" and fractions and recognise_task(y) == "regression":
        raise TableError(f"--task classification needs classes, and the target {target!r} has fractions: leave it out")


def _read_file(table: str, reading: ReadingOptions) -> tuple[Any, str, list[str]]:
    """The table without columns to drop and the totals; the decimal mark of its kind of file; and what was noticed."""
    from metamix.data.files import read_file
    from metamix.data.tables import total_row

    separator = None if reading.sep is None else reading.sep.replace("\\t", "\t")
    if separator is not None and len(separator) != 1:
        raise click.UsageError(f"--sep {reading.sep!r}: one character would do, or \\t for tab")
    found = read_file(table, separator=separator, encoding=reading.encoding, sheet=reading.sheet)
    frame, lines = found.frame, list(found.notes)
    drop = comma_separated(reading.drop)
    for name in drop:
        if name not in frame.columns:
            raise click.UsageError(f"--drop {name!r} is not a column of the table{suggestion(name, frame.columns)}")
    frame = frame.drop(columns=drop)
    totals = total_row(frame, reading.decimal or found.decimal)
    if totals and not reading.keep_totals:
        lines.append(f"The last row holds totals ({totals}) and is left out; --keep-totals keeps it.")
        frame = frame.iloc[:-1]
    return frame, found.decimal, lines


def _typed(column: Any, reading: ReadingOptions, decimal: str, kind: str | None = None) -> Any:
    """One column with its type; one that counts the rows or identifies them is what it was asked for."""
    from metamix.data.cleaning import fit_cleaner
    from metamix.data.column_reading import LEFT_OUT

    cleaner = reading.cleaner([str(column.name)], decimal)
    if kind is not None:
        cleaner.set_params(kinds={str(column.name): kind})
    found = cleaner.fit(column.to_frame()).readings_[0]
    if found.kind in LEFT_OUT:
        is_number = found.format is not None or column.dtype.kind in "iuf"
        cleaner.set_params(kinds={found.name: "number" if is_number else "category"})
    frame = column.to_frame()
    return fit_cleaner(cleaner, frame).transform(frame)[column.name]


def _column(X: Any, option: str, name: str | None) -> Any:
    from metamix.data.frames import TableError

    if name is None:
        return None
    if name not in X.columns:
        raise TableError(f"{option} {name!r} is not a column of the table{suggestion(name, X.columns)}")
    gaps = int((X[name].isna() | (X[name] == "")).sum())
    if gaps and option != "--id":
        raise TableError(f"{option} {name!r} is missing in {gaps} of {len(X)} rows: fill them in or remove the rows")
    return X[name]
