"""Reading of tables for the commands: options, what was noticed, target, groups and weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from metamix.cli.output import column_lines, say

__all__ = [
    "ReadingOptions",
    "TableData",
    "file_options",
    "read",
    "read_for_prediction",
    "reading_options",
    "suggestion",
    "told",
]

Command = Callable[..., Any]

#: How a file is read, which also holds for rows to predict; how columns are read is decided when a mixture is fitted.
FILE_OPTIONS = (
    click.option("--drop", multiple=True, metavar="COLUMN,…", help="Columns to leave out; may be repeated."),
    click.option("--id", "identifier", metavar="COLUMN", help="Kept out of the fit, written beside predictions."),
    click.option("--na", multiple=True, metavar="TEXT", help="Value that is missing, as text; may be repeated."),
    click.option("--sep", metavar="MARK", help="Separator of columns; tab is \\t."),
    click.option("--encoding", metavar="NAME", help="Encoding of text files, such as latin-1."),
    click.option("--sheet", metavar="NAME", help="Sheet of a workbook."),
)
COLUMN_OPTIONS = (
    click.option("--types", multiple=True, metavar="COLUMN=KIND,…", help="Kinds of columns: number, date, category, …"),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers in text."),
    click.option("--thousands", metavar="MARK", help="Mark between thousands; needs --decimal."),
    click.option("--date-format", metavar="FORMAT", help="Format of dates, such as %d.%m.%Y."),
    click.option("--keep-totals", is_flag=True, help="Keep a last row that holds the totals of the others."),
)


@dataclass(frozen=True)
class ReadingOptions:
    """Values of the options added by `reading_options`."""

    drop: Sequence[str] = ()
    types: Sequence[str] = ()
    identifier: str | None = None
    na: Sequence[str] = ()
    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    sep: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    keep_totals: bool = False

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of columns by name."""
        found = {}
        for item in _words(self.types):
            name, separator, kind = item.rpartition("=")
            if not separator:
                raise click.UsageError(f"--types {item!r}: COLUMN=KIND would do, such as zip=category")
            found[name.strip()] = kind.strip()
        return found

    def cleaner(self, names: Sequence[str], decimal: str) -> Any:
        """The cleaner for some columns of a file; `decimal` is the mark that goes with the separator of the file."""
        from metamix.data.cleaning import TableCleaner

        if self.thousands is not None and self.decimal is None:
            raise click.UsageError("--thousands needs --decimal")
        return TableCleaner(
            {name: kind for name, kind in self.kinds.items() if name in names}, decimal=self.decimal or decimal,
            thousands=self.thousands, date_format=self.date_format, missing=tuple(self.na),
        )  # fmt: skip


@dataclass(frozen=True)
class TableData:
    """A table split into X, target, groups and weights.

    `cleaner` says how the columns of X are to be read, `lines` what was noticed.
    """

    X: Any
    y: Any
    task: str
    groups: Any = None
    weights: Any = None
    constant: Any = None
    cleaner: Any = None
    lines: Sequence[str] = ()


def reading_options(command: Command) -> Command:
    """Add the options that commands share which learn from a table."""
    return _add(command, (*FILE_OPTIONS, *COLUMN_OPTIONS))


def file_options(command: Command) -> Command:
    """Add the options of reading a file, without those of columns."""
    return _add(command, FILE_OPTIONS)


def _add(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def take_reading_options(given: dict[str, Any]) -> ReadingOptions:
    """Take the options of `reading_options` or `file_options` out of those of a command."""
    names = [name for name in ReadingOptions.__dataclass_fields__ if name in given]
    return ReadingOptions(**{name: given.pop(name) for name in names})


def read(
    table: str,
    reading: ReadingOptions,
    target: str,
    task: str | None = None,
    groups: str | None = None,
    weights: str | None = None,
) -> TableData:
    """Read a table and split it.

    Raises
    ------
    TableError
        If that is impossible.
    """
    import numpy as np

    from metamix.data.cells import column_kind
    from metamix.data.column_reading import LEFT_OUT
    from metamix.data.frames import TableError
    from metamix.data.leaks import suspicious_columns
    from metamix.data.tables import check_classes, leave_out_rows, recognise_task, split_target

    frame, decimal, lines = _read_file(table, reading)
    by_option = {"--target": target, "--groups": groups, "--weights": weights, "--id": reading.identifier}
    given = [name for name in by_option.values() if name is not None]
    if len(set(given)) < len(given):
        raise TableError(f"--target, --groups, --weights and --id must be different columns; got {', '.join(given)}")
    for name in reading.kinds:
        if name not in frame.columns:
            raise click.UsageError(f"--types {name!r} is not a column of the table{suggestion(name, frame.columns)}")
    X, y = split_target(frame, target)
    with told(lines):
        y = _typed(y, reading, decimal)
        frame, y, left_out = leave_out_rows(X, y)
    if left_out:
        lines.append(f"{left_out} of {len(X)} rows have no {target}, and are left out.")
    others = {option: _column(frame, option, by_option[option]) for option in ("--groups", "--weights", "--id")}
    X = frame.drop(columns=[name for name in given if name != target])
    if not X.shape[1]:
        raise TableError(f"{table} has no column left to predict {target!r} from")
    _check_task(task, target, y)
    task = task or recognise_task(y)
    if task == "classification":
        lines += check_classes(y, target)
    weight = others["--weights"]
    if weight is not None:
        with told(lines):
            weight = _typed(weight, reading, decimal)
        if column_kind(weight) != "number":
            raise TableError(f"--weights {weights!r} is not a numeric column")
        weight = weight.to_numpy(dtype=float)
        if (weight < 0).any() or not np.isfinite(weight).all() or not weight.any():
            raise TableError(f"--weights {weights!r} must be finite and not negative, and not zero everywhere")
    group = others["--groups"]
    if group is not None:
        group = _typed(group, reading, decimal, "category").to_numpy(dtype=object)
    cleaner = reading.cleaner(list(X.columns), decimal)
    about = f"{Path(table).name}: {len(X)} rows, {task} of {target}"
    about += f" ({y.nunique()} classes)." if task == "classification" else "."
    try:
        readings = cleaner.fit(X)
    except TableError as error:
        raise TableError(_as_options(str(error))) from None
    if all(one.kind in LEFT_OUT for one in readings.readings_):
        raise TableError(
            f"{table} has no column left to predict {target!r} from: {' '.join(map(_as_options, readings.notes_))}"
        )
    with told([]):
        leaks = suspicious_columns(readings.transform(X), y.to_numpy(), classes=task == "classification")
    lines = [about, *column_lines(readings.report(X)), *lines, *readings.notes_, *leaks]
    constant = y.iloc[0] if y.nunique() == 1 and task == "regression" else None
    return TableData(X, y, task, group, weight, constant, cleaner, lines)


def read_for_prediction(table: str, reading: ReadingOptions) -> tuple[Any, Any, list[str]]:
    """Columns of a table as they are written, those of --id, and what was noticed; no row is left out."""
    frame, _, lines = _read_file(table, replace(reading, keep_totals=True))
    if reading.na:
        frame = frame.mask(frame.astype(str).isin(list(reading.na)))
    return frame, _column(frame, "--id", reading.identifier), lines


@contextmanager
def told(lines: list[str]) -> Iterator[None]:
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
        line = _as_options(line)
        if line.startswith("  "):
            click.echo(line, err=err)
        else:
            say(line, err=err)


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


def _as_options(line: str) -> str:
    """A sentence about parameters of Python, about options.

    Examples
    --------
    >>> _as_options("decimal=',' decides otherwise; kinds={'zip': 'category'} too")
    "--decimal ',' decides otherwise; --types zip=category too"
    """
    line = re.sub(r"\b(decimal|date_format)=('[^']*')", lambda m: f"--{m[1].replace('_', '-')} {m[2]}", line)
    return re.sub(r"\bkinds=\{'([^']*)': '(\w+)'\}", r"--types \1=\2", line)


def _read_file(table: str, reading: ReadingOptions) -> tuple[Any, str, list[str]]:
    """The table without columns to drop and the totals; the decimal mark of its kind of file; and what was noticed."""
    from metamix.data.files import read_file
    from metamix.data.tables import total_row

    separator = None if reading.sep is None else reading.sep.replace("\\t", "\t")
    if separator is not None and len(separator) != 1:
        raise click.UsageError(f"--sep {reading.sep!r}: one character would do, or \\t for tab")
    found = read_file(table, separator=separator, encoding=reading.encoding, sheet=reading.sheet)
    frame, lines = found.frame, list(found.notes)
    drop = _words(reading.drop)
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


def _words(given: Sequence[str]) -> list[str]:
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


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


def suggestion(name: str, names: Any) -> str:
    """Suggest the closest name; empty if none is close.

    Examples
    --------
    >>> suggestion("prise", ["price", "size"])
    ": did you mean 'price'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(name, [str(one) for one in names], n=1)
    return f": did you mean {close[0]!r}?" if close else ""
