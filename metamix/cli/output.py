"""Output on the terminal: tables and wrapped text, for a width of 80 columns."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

WIDTH = 80
# The table of columns has so many rows at most.
MOST_COLUMNS = 20


def say(text: str, *, err: bool = False, indent: int = 0) -> None:
    """Print a text, wrapped on a terminal, with an indent from the second line on, and in one line otherwise.

    Examples
    --------
    >>> say("Use the mixture.")
    Use the mixture.
    """
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        width = min(shutil.get_terminal_size().columns, WIDTH)
        whole = text.replace(" %", "\N{NO-BREAK SPACE}%")  # a number and its unit stay in one line
        text = textwrap.fill(
            whole, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        ).replace("\N{NO-BREAK SPACE}%", " %")
    click.echo(text, err=err)


def number(value: float, smallest: float | None = None) -> str:
    """Format a number so that the smallest number of its column has three significant digits.

    Examples
    --------
    >>> number(3046.466), number(0.0761881), number(11.7, smallest=0.9167), number(float("nan"))
    ('3046', '0.0762', '11.700', '–')
    >>> number(1.5e9), number(2e-7)
    ('1.5e+09', '2e-07')
    """
    smallest = abs(value) if smallest is None else smallest
    if not (math.isfinite(value) and math.isfinite(smallest)):
        return "–"
    if not 1e-4 <= smallest < 1e7 or abs(value) >= 1e7:
        return f"{value:.3g}"
    return f"{value:.{max(2 - math.floor(math.log10(smallest)), 0)}f}"


def seconds(value: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> seconds(0.0042), seconds(3.728), seconds(142.3), seconds(9000.0), seconds(float("nan"))
    ('4 ms', '3.7 s', '142 s', '2.5 h', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value < 0.0995:
        return f"{1000 * value:.0f} ms"
    if value < 99.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 6000 else f"{value / 3600:.1f} h"


def size(path: Path) -> str:
    """Size of a file."""
    megabytes = path.stat().st_size / 1e6
    return f"{megabytes:.1f} MB" if megabytes >= 0.95 else f"{1000 * megabytes:.0f} kB"


def write_csv(frame: Any, output: Any) -> None:
    """Write a data frame to an `OutputFile`."""
    with output.open() as stream:
        frame.to_csv(stream, index=False, lineterminator="\n")


def change(difference: float, error: float, base: float) -> tuple[str, str]:
    """Format a paired difference and its standard error, in percent of `base` if that is positive.

    Examples
    --------
    >>> change(-23.4, 26.7, 3093.7), change(-0.02, 0.01, -0.9), change(0.0, 0.0, 3.0)
    (('-0.8 %', '± 0.9'), ('-0.02', '± 0.01'), ('', ''))
    >>> change(-0.01, 1.3, 100.0)
    ('+0.0 %', '± 1.3')
    """
    if difference == 0 and error == 0:
        return "", ""
    if not base > 0:
        return f"{difference:+.3g}", f"± {error:.2g}"
    share, spread = 100 * difference / base, 100 * error / base
    digits = 1 if abs(share) < 99.95 else 0
    shown = round(share, digits) + 0.0  # no negative zero
    return f"{shown:+.{digits}f} %", f"± {spread:.{digits}f}"


def short(text: str, most: int) -> str:
    """Shorten a text to at most `most` characters.

    Examples
    --------
    >>> short("neighbours", 6)
    'neigh…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Lines of a table of strings, aligned left, columns whose positions are in `right` aligned right.

    Examples
    --------
    >>> [click.unstyle(line) for line in columns(["part", "n"], [["ridge", "1"], ["svm", "20"]], right=(1,))]
    ['part    n', 'ridge   1', 'svm    20']
    """
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for i, line in enumerate(lines):
        cells = [f"{cell:{'>' if j in right else '<'}{widths[j]}}" for j, cell in enumerate(line)]
        text = "  ".join(cells).rstrip()
        yield click.style(text, dim=True) if i == 0 else text


def failures(found: Iterable[Any]) -> None:
    """Print a line on standard error for each expert that failed."""
    errors: dict[str, list[str]] = {}
    for failure in found:
        errors.setdefault(str(failure.expert), []).append(str(failure.error))
    for name, texts in errors.items():
        times = "once" if len(texts) == 1 else f"{len(texts)} times"
        say(f"expert {name} failed {times} and was left out: {short(' '.join(texts[0].split()), 200)}", err=True)


def column_lines(report: Any) -> list[str]:
    """A table of how columns are read, indented, as lines; columns without peculiarities are counted by kind.

    Parameters
    ----------
    report : DataFrame
        As of `metamix.describe`.

    Examples
    --------
    >>> from metamix import describe
    >>> import pandas as pd
    >>> for line in column_lines(describe(pd.DataFrame({"size": [1.5, None], "id": [0, 1]}))):
    ...     print(click.unstyle(line))
      column  kind    missing  distinct
      size    number        1         1
      id      number        0         2
    """
    shown = report.head(MOST_COLUMNS)
    rows = [(one.column, one.kind + (", left out" if one.left_out else ""), str(one.missing), str(one.distinct))
            for one in shown.itertuples()]  # fmt: skip
    lines = [f"  {line}" for line in columns(("column", "kind", "missing", "distinct"), rows, right=(2, 3))]
    if len(report) > len(shown):
        counts = report["kind"].iloc[MOST_COLUMNS:].value_counts()
        lines.append("  and " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return lines
