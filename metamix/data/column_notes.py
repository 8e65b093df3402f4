"""Sentences about how columns are read: what was converted, left out, odd, or of another kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.date_text import ISO, DateFormat
from metamix.data.frames import TableError, listed
from metamix.data.number_text import NumberFormat

__all__ = [
    "another_kind", "converted", "dated", "in_part", "infinite", "left_out", "none_of_kind", "odd_cells",
    "unseen",
]  # fmt: skip

#: Numbers as they are usually written; others, such as 007 or 1E5, may be codes, and reading them as numbers is said.
_USUAL = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]\d+)?")
#: Kinds of which there are "numbers" and the like; the others hold text.
_COUNTED = ("number", "date", "boolean", "duration")


def left_out(name: str, kind: str, *, is_number: bool = True) -> str:
    """Why an index or an identifier is left out, and how it is kept.

    Examples
    --------
    >>> left_out("user_id", "identifier")
    "user_id: has another value in every row; it is left out. columns={'user_id': 'number'} keeps it."
    """
    why = "counts the rows" if kind == "index" else "has another value in every row"
    keep = "number" if is_number else "category"
    return f"{name or 'the column without a name'}: {why}; it is left out. columns={{{name!r}: {keep!r}}} keeps it."


def odd_cells(
    name: str, texts: Sequence[str], counts: NDArray[np.intp], fine: NDArray[np.bool_], kind: str
) -> list[str]:
    """How many cells are not of the kind of their column; nothing where all are.

    Examples
    --------
    >>> odd_cells("area", ["12", "?"], np.array([8, 2]), np.array([True, False]), "number")
    ["area: 2 of 10 values are no numbers ('?'), taken as missing."]
    """
    if fine.all():
        return []
    odd = [text for text, ok in zip(texts, fine, strict=True) if not ok]
    count, total = int(counts[~fine].sum()), int(counts.sum())
    are = f"is no {kind}" if count == 1 else f"are no {kind}s"
    return [f"{name}: {count} of {total} values {are} ({_shown(odd)}), taken as missing."]


#: A time and its distance to UTC.
_ZONE = re.compile(r":\d\d(?:\.\d+)? ?(Z|[+-]\d\d:?\d\d)$")


def unseen(name: str, texts: Sequence[str], counts: NDArray[np.intp], new: NDArray[np.bool_]) -> list[str]:
    """How many cells have values that training did not have; nothing where none has.

    Examples
    --------
    >>> unseen("city", ["Rome", "Bern"], np.array([3, 1]), np.array([False, True]))
    ["city: 1 of 4 values was not seen in training ('Bern')."]
    """
    if not new.any():
        return []
    count, total = int(counts[new].sum()), int(counts.sum())
    values = _shown([text for text, is_new in zip(texts, new, strict=True) if is_new])
    return [f"{name}: {count} of {total} values {'was' if count == 1 else 'were'} not seen in training ({values})."]


def infinite(name: str, values: NDArray[np.float64]) -> list[str]:
    """How many numbers are infinite; nothing where none is.

    Examples
    --------
    >>> infinite("area", np.array([1.0, np.inf]))
    ['area: 1 of 2 values is infinite, taken as missing.']
    """
    count = int(np.isinf(values).sum())
    if not count:
        return []
    return [f"{name}: {count} of {len(values)} values {'is' if count == 1 else 'are'} infinite, taken as missing."]


def converted(
    name: str, texts: Sequence[str], values: NDArray[np.float64], taken: NumberFormat, other: NumberFormat | None = None
) -> list[str]:
    """How numbers are read that are not written in the usual way, or that another format reads otherwise.

    Examples
    --------
    >>> converted("price", ["$7"], np.array([7.0]), NumberFormat(unit="$"))
    ["price: numbers with decimal '.', unit '$'; '$7' is read as 7."]
    """
    if other is not None:
        return [_ambiguous(name, texts, taken, other, f"columns=TableCleaner(decimal={other.decimal!r})")]
    for text, value in zip(texts, values, strict=True):
        if np.isfinite(value) and not _USUAL.fullmatch(text):
            return [f"{name}: numbers with {taken}; {text!r} is read as {_plain(value)}."]
    return []


def dated(
    name: str, texts: Sequence[str], dates: NDArray[Any], taken: DateFormat, other: DateFormat | None = None
) -> list[str]:
    """How dates are read that are not written as year, month and day, or that another format reads otherwise.

    Examples
    --------
    >>> taken = DateFormat("%d.%m.%Y")
    >>> dated("sold", ["31.01.2020"], taken.read(["31.01.2020"]), taken)
    ["sold: dates as %d.%m.%Y; '31.01.2020' is read as 2020-01-31."]
    >>> dated("sold", ["2020-01-31T10:00:00+01:00"], np.array(["2020-01-31T09:00"], "M8[s]"), DateFormat(ISO))
    ["sold: dates with a time zone are in UTC; '2020-01-31T10:00:00+01:00' is read as 2020-01-31T09:00:00."]
    """
    if other is not None:
        return [_ambiguous(name, texts, taken, other, f"columns=TableCleaner(date_format={other.pattern!r})")]
    for text, value in zip(texts, dates, strict=True):
        zone = _ZONE.search(text)
        if not np.isnat(value) and zone is not None and zone[1] not in ("Z", "+00:00", "+0000"):
            return [f"{name}: dates with a time zone are in UTC; {text!r} is read as {str(value)[:19]}."]
    for text, value in zip(texts, dates, strict=True):
        if not np.isnat(value) and (taken.pattern != ISO or len(text) < len("2000-01-01")):
            return [f"{name}: dates as {taken}; {text!r} is read as {_plain(value)}."]
    return []


def in_part(name: str, share: float, kind: str) -> str:
    """How much of a column of text is numbers or dates, and how it is read as such.

    Examples
    --------
    >>> in_part("size", 0.6, "number")
    "size: 60 % of the values are numbers, too few to take the others as missing: it stays text. \
columns={'size': 'number'} takes them as missing."
    """
    return (
        f"{name}: {100 * share:.0f} % of the values are {kind}s, too few to take the others as missing: it stays text. "
        f"columns={{{name!r}: {kind!r}}} takes them as missing."
    )


def unknown_form(name: str, texts: Sequence[str]) -> str:
    """A column whose values look like amounts, dates or times, and cannot be read as such.

    Examples
    --------
    >>> unknown_form("value", ["10.3M"])
    "value: values such as '10.3M' look like amounts, dates or times in a form not known: it stays text."
    """
    such = repr(texts[0][:30])
    return f"{name}: values such as {such} look like amounts, dates or times in a form not known: it stays text."


def none_of_kind(name: str, texts: Sequence[str], kind: str) -> TableError:
    """Error for a column that was told to be of a kind of which it has no value."""
    has = f"column {name!r} has none, but {_shown(texts)}"
    return TableError(f"columns={{{name!r}: {kind!r}}}: {has}: leave that out")


def another_kind(name: str, kind: str, levels: Sequence[str], found: str) -> TableError:
    """Error for a column that holds another kind of values than in training."""
    held = f"{kind}s" if kind in _COUNTED else "text"
    such = f" such as {_shown(sorted(levels), 2)}" if levels else ""
    return TableError(
        f"column {name!r} held {held}{such} in training, and holds {found} now: write them as in training"
    )


def _shown(texts: Sequence[str], most: int = 3) -> str:
    return listed([repr(text[:30]) for text in texts], most)


def _plain(value: Any) -> str:
    return str(value)[:10] if isinstance(value, np.datetime64) else f"{value:.12g}"


def _ambiguous(name: str, texts: Sequence[str], taken: Any, other: Any, parameter: str) -> str:
    """Which of two formats was taken, and the parameter that takes the other."""
    pairs = zip(texts, taken.read(texts), other.read(texts), strict=True)
    text, one, two = next(values for values in pairs if values[1] != values[2])
    return f"{name}: {text!r} is read as {_plain(one)}, not {_plain(two)}. {parameter} decides otherwise."
