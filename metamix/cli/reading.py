"""Options of how a table is read."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from metamix.cli.wording import suggestion

__all__ = ["ReadingOptions", "comma_separated", "reading_options", "row_options", "take_reading_options"]

Command = Callable[..., Any]

#: How a file is read.
FILE_OPTIONS = (
    click.option("--drop", multiple=True, metavar="COLUMN,…", help="Columns to leave out; may be repeated."),
    click.option("--id", "identifier", metavar="COLUMN", help="Kept out of the fit, written beside predictions."),
    click.option("--na", multiple=True, metavar="TEXT", help="Value that is missing, as text; may be repeated."),
    click.option("--sep", metavar="MARK", help="Separator of columns; tab is \\t."),
    click.option("--encoding", metavar="NAME", help="Encoding of text files, such as latin-1."),
    click.option("--sheet", metavar="NAME", help="Sheet of a workbook."),
)
#: How columns are read; rows to predict are read as in training, but for columns that these name or describe.
COLUMN_OPTIONS = (
    click.option("--types", multiple=True, metavar="COLUMN=KIND,…", help="Kinds of columns: number, date, category, …"),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers in text."),
    click.option("--thousands", metavar="MARK", help="Mark between thousands; needs --decimal."),
    click.option("--date-format", metavar="FORMAT", help="Format of dates, such as %d.%m.%Y."),
)
TOTALS_OPTION = click.option("--keep-totals", is_flag=True, help="Keep a last row that holds the totals of the others.")


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
        pairs = (item.rpartition("=") for item in comma_separated(self.types))
        return {name.strip(): kind.strip() for name, _, kind in pairs}

    def check(self) -> None:
        """Raise an error, before anything is read, for values that no table could make sense of."""
        for item in comma_separated(self.types):
            from metamix.data.column_reading import KINDS  # brings libraries that take seconds to load

            kind = item.rpartition("=")[2].strip()
            if "=" not in item:
                raise click.UsageError(f"--types {item!r}: COLUMN=KIND would do, such as zip=category")
            if kind not in KINDS:
                close = suggestion(kind, KINDS)
                raise click.UsageError(
                    f"--types {item}: there is no kind {kind!r}{close}; give one of {', '.join(KINDS)}"
                )
        if self.thousands is not None and self.decimal is None:
            raise click.UsageError("--thousands needs --decimal")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise click.UsageError(
                    f"--encoding: there is no encoding {self.encoding!r}: utf-8, utf-16 and latin-1 are some"
                ) from None

    @property
    def decides_formats(self) -> bool:
        """Whether options say how columns of text are written or what they are."""
        return bool(self.types or self.decimal or self.thousands or self.date_format)

    def cleaner(self, names: Sequence[str], decimal: str) -> Any:
        """The cleaner for some columns of a file; `decimal` is the mark that goes with the separator of the file."""
        from metamix.data.cleaning import TableCleaner

        return TableCleaner(
            {name: kind for name, kind in self.kinds.items() if name in names}, decimal=self.decimal or decimal,
            thousands=self.thousands, date_format=self.date_format, missing=tuple(self.na),
        )  # fmt: skip


def reading_options(command: Command) -> Command:
    """Add the options of commands that learn from a table or judge by it."""
    return row_options(TOTALS_OPTION(command))


def row_options(command: Command) -> Command:
    """Add the options of commands that predict rows of a table, of which none is left out."""
    for option in reversed((*FILE_OPTIONS, *COLUMN_OPTIONS)):
        command = option(command)
    return command


def take_reading_options(given: dict[str, Any]) -> ReadingOptions:
    """Take the options of `reading_options` out of those of a command, and check them."""
    names = [name for name in ReadingOptions.__dataclass_fields__ if name in given]
    found = ReadingOptions(**{name: given.pop(name) for name in names})
    found.check()
    return found


def comma_separated(given: Sequence[str]) -> list[str]:
    """Words of an option that may be given more than once; one with a comma in it is quoted, as in CSV.

    Examples
    --------
    >>> comma_separated(["ridge, boosting", "svm"]), comma_separated(['"weight, kg",size'])
    (['ridge', 'boosting', 'svm'], ['weight, kg', 'size'])
    """
    words = [word.strip() for record in csv.reader(given, skipinitialspace=True) for word in record]
    return [word for word in words if word]
