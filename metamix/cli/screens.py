"""What people see: tables, sentences and a progress bar that look right in 80 columns."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

WIDTH = 80
# The plain mixture inside a table is an alternation over all experts: it takes about as long as so many.
MIXTURE_WEIGHT = 8


def say(text: str, *, err: bool = False) -> None:
    """Echo a sentence; wrapped on a terminal, one line where somebody else reads it.

    Examples
    --------
    >>> say("Trust the mixture.")
    Trust the mixture.
    """
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        width = min(shutil.get_terminal_size().columns, WIDTH)
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    click.echo(text, err=err)


def number(value: float, smallest: float | None = None) -> str:
    """A number with as many decimals as give the smallest of its column three digits, so that they line up.

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
    """A duration, short.

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


def change(difference: float, error: float, base: float) -> tuple[str, str]:
    """A paired difference and its standard error, in percent of a positive base, else as they are.

    Examples
    --------
    >>> change(-23.4, 26.7, 3093.7), change(-0.02, 0.01, -0.9), change(0.0, 0.0, 3.0)
    (('-0.8 %', '± 0.9'), ('-0.02', '± 0.01'), ('', ''))
    """
    if difference == 0 and error == 0:
        return "", ""
    if not base > 0:
        return f"{difference:+.3g}", f"± {error:.2g}"
    share, spread = 100 * difference / base, 100 * error / base
    digits = 1 if abs(share) < 99.95 else 0
    return f"{share:+.{digits}f} %", f"± {spread:.{digits}f}"


def comparison_lines(rows: Sequence[dict[str, Any]], measure: str) -> Iterator[str]:
    """Lines of a comparison's table: experts, then combinations; the best combination is bold."""
    base = next((row["loss"] for row in rows if row["name"] == "stacking"), math.nan)
    honest = [row for row in rows if row["kind"] == "combination" and row["name"] != "oracle"]
    best = min(honest, key=lambda row: row["loss"])["name"] if honest else None
    smallest = min((abs(row["loss"]) for row in honest if row["loss"]), default=math.nan)
    cells = [
        (short(row["name"], 22), number(row["loss"], smallest), *change(row["difference"], row["standard_error"], base),
         seconds(row["fit_seconds"]), seconds(row["predict_seconds"]))
        for row in rows
    ]  # fmt: skip
    measure = short(measure, 14)
    heads = ("", measure, "vs stacking", "", "fit", "predict")
    widths = [max(len(head), *(len(line[i]) for line in cells)) for i, head in enumerate(heads)]
    widths[2] = max(len(line[2]) for line in cells)  # this heading spans a difference and its error
    widths[3] = max(widths[3], len(heads[2]) - widths[2] - 1)
    span = widths[2] + 1 + widths[3]
    head = f"  {'':{widths[0]}}  {measure:>{widths[1]}}   {heads[2]:>{span}}   "
    yield click.style(f"{head}{'fit':>{widths[4]}}  {'predict':>{widths[5]}}", dim=True)
    kind = "expert"
    for row, (name, loss, gap, error, fitted, asked) in zip(rows, cells, strict=True):
        if row["kind"] != kind:
            kind = row["kind"]
            yield ""
        line = f"  {name:{widths[0]}}  {loss:>{widths[1]}}   {gap:>{widths[2]}} {error:>{widths[3]}}   "
        line += f"{fitted:>{widths[4]}}  {asked:>{widths[5]}}"
        yield click.style(
            line.rstrip(), bold=True if row["name"] == best else None, dim=row["name"] == "oracle" or None
        )


def short(text: str, most: int) -> str:
    """The text, or its beginning.

    Examples
    --------
    >>> short("neighbours", 6)
    'neigh…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table of words, aligned left.

    Examples
    --------
    >>> [click.unstyle(line) for line in columns(["part", "of"], [["ridge", "metamix"]])]
    ['part   of', 'ridge  metamix']
    """
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for i, line in enumerate(lines):
        text = "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        yield click.style(text, dim=True) if i == 0 else text


def failures(found: Iterable[Any]) -> None:
    """A line on standard error for each expert that failed."""
    errors: dict[str, list[str]] = {}
    for failure in found:
        errors.setdefault(str(failure.expert), []).append(str(failure.error))
    for name, texts in errors.items():
        times = "once" if len(texts) == 1 else f"{len(texts)} times"
        say(f"left out {name}, which failed {times}: {short(' '.join(texts[0].split()), 200)}", err=True)


@contextmanager
def progress(label: str, cv: int, *, outer: bool) -> Iterator[None]:
    """A bar on standard error, fed by the events of the work inside; nothing where nobody looks.

    Parameters
    ----------
    label : str
    cv : int
        Folds.
    outer : bool
        Whether everything is done anew in each fold, as a comparison does.
    """
    if not sys.stderr.isatty():
        yield
        return
    from metamix.progress import Event, listen

    current = ""
    bar: Any = click.progressbar(
        length=1000, label=f"{short(label, 16):16}", file=sys.stderr, width=24, show_eta=False,
        item_show_func=lambda _: short(current, 22), update_min_steps=1,
    )  # fmt: skip
    total, done = 0, 0

    def hear(event: Event) -> None:
        nonlocal total, done, current
        if event.kind not in ("task", "failure") or not event.total:
            return
        if not total:  # the first stage is every expert in every (inner) fold, and tells how many there are
            inner = cv - 1 if outer else cv
            is_plain = "mixture," in event.label
            experts = max(event.total // inner - (0 if outer or is_plain else 1), 1)
            total = (cv if outer else 1) * (inner + 1) * (experts + MIXTURE_WEIGHT)
        done += MIXTURE_WEIGHT if event.label.startswith("mixture,") else 1
        current = event.label
        bar.update(max(min(int(1000 * done / total), 999) - bar.pos, 0))

    with bar:
        with listen(hear):
            yield
        current = ""
        bar.update(1000 - bar.pos)
