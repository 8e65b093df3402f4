"""How a column of text writes dates, decided by all of its values, and the dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ISO", "DateFormat", "find_date_format"]

ISO = "ISO8601"
DAYS = (
    "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%m/%d/%y",
    "%d/%m/%y", "%y/%m/%d", "%d-%m-%y", "%y-%m-%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%Y-%b-%d", "%d. %B %Y", "%b-%y", "%m/%Y",
)  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z", " %H:%M %z")
#: Formats are first tried on so many values.
FIRST = 40
#: Lengths of texts that may be dates.
SHORTEST, LONGEST = 6, 40


@dataclass(frozen=True)
class DateFormat:
    """One way to write dates.

    Parameters
    ----------
    pattern : str
        As of `strptime`, or "ISO8601".

    Examples
    --------
    >>> DateFormat("%d.%m.%Y").read(["29.02.2024", "unknown"]).astype(str).tolist()
    ['2024-02-29T00:00:00.000000', 'NaT']
    >>> DateFormat(ISO).read(["2024-03-01T01:00:00+01:00", "2024-03-01T00:00Z"]).astype(str).tolist()
    ['2024-03-01T00:00:00.000000', '2024-03-01T00:00:00.000000']
    """

    pattern: str

    def read(self, texts: Sequence[str]) -> NDArray[np.datetime64]:
        """Dates (n,) in microseconds, NaT for what is none in this format; those with a time zone in UTC."""
        cells = pd.Series([text.strip() for text in texts], dtype=object)
        if self.pattern == ISO:  # pandas also takes bare years, which are numbers
            cells = cells.where(cells.str.match(r"\d{4}-\d{2}"), None)
        return np.asarray(pd.to_datetime(cells, format=self.pattern, errors="coerce", utc=True)
                          .dt.tz_localize(None).to_numpy().astype("M8[us]"))  # fmt: skip

    def __str__(self) -> str:
        return self.pattern


def find_date_format(
    texts: Sequence[str], counts: NDArray[np.intp], pattern: str | None = None
) -> tuple[DateFormat, DateFormat | None]:
    """The format in which most of a column is dates, and another that reads as much and says otherwise.

    Parameters
    ----------
    texts : sequence of str
        Distinct values of the column, without missing ones.
    counts : ndarray of shape (len(texts),)
        How often each occurs.
    pattern : str, optional
        A format that is taken where it reads half of the column.

    Returns
    -------
    (DateFormat, DateFormat or None)
        None where nothing is ambiguous: 01/02/2020 is, 31/01/2020 is not.

    Examples
    --------
    >>> find_date_format(["01/02/2020", "31/01/2020"], np.array([1, 1]))
    (DateFormat(pattern='%d/%m/%Y'), None)
    """
    if pattern is not None and 2 * (~np.isnat(DateFormat(pattern).read(texts)) @ counts) >= counts.sum():
        return DateFormat(pattern), None
    some = [texts[i] for i in np.linspace(0, len(texts) - 1, min(FIRST, len(texts))).astype(int)]
    if not any(map(_may_be_date, some)):
        return DateFormat(ISO), None
    patterns = [ISO, *(day + time for time, day in product(TIMES, DAYS))]
    tried = [one for one in map(DateFormat, patterns) if not np.isnat(one.read(some)).all()]
    if not tried:
        return DateFormat(ISO), None
    values = [one.read(texts) for one in tried]
    read = np.array([~np.isnat(one) @ counts for one in values])
    best = int(np.argmax(read))
    known = ~np.isnat(values[best])
    rivals = [i for i in np.flatnonzero(read == read[best]) if (values[i][known] != values[best][known]).any()]
    return tried[best], tried[rivals[0]] if rivals else None


def _may_be_date(text: str) -> bool:
    return SHORTEST <= len(text.strip()) <= LONGEST and sum(c.isdigit() for c in text) > 1
