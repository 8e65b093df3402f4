"""What one column is, decided by all of its values, and its values read accordingly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metamix.data.cells import column_kind, dates_of, floats_of, has_zone, is_pandas
from metamix.data.column_notes import (
    another_kind,
    converted,
    dated,
    in_part,
    infinite,
    left_out,
    none_of_kind,
    odd_cells,
    unknown_form,
    unseen,
)
from metamix.data.date_text import ISO, DateFormat, find_date_format
from metamix.data.frames import TableError
from metamix.data.number_text import NumberFormat, find_number_format, is_plain_number, looks_like_code
from metamix.data.text_vectors import holds_prose

__all__ = ["KINDS", "LEFT_OUT", "ColumnReader", "ColumnReading", "ColumnText"]

#: What a column can be told to be; it may also be found to be a duration, an index or empty.
KINDS = ("number", "date", "boolean", "category", "text", "identifier")
#: Identifiers and an index are left out.
LEFT_OUT = ("identifier", "index")
#: Of these the values are remembered, to tell later ones that were not there.
WITH_LEVELS = ("category", "text", "identifier")
#: A column of text is numbers or dates if at least so much of it is; below, and above one half, that is said.
SHARE, HALF = 0.9, 0.5
#: Fewer distinct values are no sign of an identifier.
FEWEST_IDENTIFIERS = 20
#: Whole numbers above are rounded.
LARGEST_WHOLE = 2**53
#: Levels of a category that are remembered, to tell unseen ones.
MOST_LEVELS = 10_000

_UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)?|column\.\d+|level_\d+|\.\.\.\d+|X|[Ii]ndex)?")
_IDENTIFIER = re.compile(r"(^|[_\s-])(?i:id|uuid|guid)$|[a-z](Id|ID)$")
#: A number with a word or mark that is not understood, or a time.
_AMOUNT = re.compile(r"[^\w\s]{0,2}\d[\d.,:/ ]*[^\W\d_]{0,2}[^\w\s]?$")
_TRUTH = {"true": True, "false": False}
#: Where a column is told to be boolean.
_TOLD_TRUTH = _TRUTH | {"yes": True, "no": False, "y": True, "n": False, "t": True, "f": False, "1": True, "0": False}


@dataclass(frozen=True)
class ColumnReading:
    """How one column is read.

    Parameters
    ----------
    name : str
    kind : str
        One of `KINDS`.
    format : NumberFormat, DateFormat or None
        Of numbers and dates that are written as text.
    levels : tuple of str
        Values of a category or text in training.
    notes : tuple of str
        What its owner should know.
    told : bool
        Whether its owner said what it is.
    """

    name: str
    kind: str
    format: NumberFormat | DateFormat | None = None
    levels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    told: bool = False

    @cached_property
    def known(self) -> frozenset[str]:
        """The levels, to be looked up."""
        return frozenset(self.levels)


@dataclass(frozen=True)
class ColumnText:
    """Distinct texts of a column, without surrounding blanks, and where they stand.

    Parameters
    ----------
    texts : list of str
        Without missing ones.
    codes : ndarray of int, shape (n,)
        Positions in `texts`; -1 is missing.
    """

    texts: list[str]
    codes: NDArray[np.intp]

    @property
    def levels(self) -> tuple[str, ...]:
        """The first texts, to be remembered."""
        return tuple(self.texts[:MOST_LEVELS])

    @property
    def counts(self) -> NDArray[np.intp]:
        """How often each text occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))

    def spread(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Values of the distinct texts, on their rows (n,)."""
        return np.append(values, np.array([missing], dtype=values.dtype))[self.codes]


@dataclass(frozen=True)
class ColumnReader:
    """Decides what columns are, and reads them as was decided.

    Parameters
    ----------
    decimal, thousands, date_format : str or None
    missing : sequence of str
        As of `metamix.TableCleaner`.

    Examples
    --------
    >>> reader, column = ColumnReader(), pd.Series(["$7", "$1,200"], name="price")
    >>> reading = reader.decide("price", column)
    >>> reading.kind, reader.read(reading, column)
    ('number', (array([   7., 1200.]), []))
    """

    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    missing: Sequence[str] = ()

    def decide(self, name: str, column: Any, wanted: str | None = None) -> ColumnReading:
        """What a column is, by its values, or as wanted: one of `KINDS`.

        Raises
        ------
        TableError
            If no value is of the kind that is wanted, or cells hold lists.
        """
        if wanted is not None:
            return replace(self._decide(name, column, wanted), told=True)
        return self._decide(name, column, None)

    def _decide(self, name: str, column: Any, wanted: str | None) -> ColumnReading:
        kind = column_kind(column)
        if kind == "text" or (wanted in ("number", "date") and kind not in (wanted, "boolean", "empty")):
            return self._decide_text(name, self.text(column), wanted)
        if (wanted or kind) in WITH_LEVELS:
            return ColumnReading(name, wanted or kind, levels=self.text(column).levels)
        if kind != "number" or wanted is not None:
            return ColumnReading(name, wanted or kind)
        values = self._numbers(column)
        no_feature = _index_or_identifier(name, values)
        if no_feature is not None:
            return ColumnReading(name, no_feature, notes=(left_out(name, no_feature),))
        return ColumnReading(name, kind, notes=tuple(infinite(name, values)))

    def text(self, column: Any) -> ColumnText:
        """The cells of a column as text."""
        try:
            codes, found = pd.factorize(_cells(column))  # missing cells have code -1
        except TypeError:
            raise TableError(
                f"column {str(column.name)!r} holds lists or other objects: one number, date or text in each cell is "
                "needed"
            ) from None
        absent, places = {"", *self.missing}, dict[str, int]()
        again = [-1 if one in absent else places.setdefault(one, len(places)) for one in map(_as_text, found)]
        return ColumnText(list(places), np.array([*again, -1], dtype=np.intp)[codes])

    def _numbers(self, column: Any) -> NDArray[np.float64]:
        """Numbers of a numeric column, with NaN for what is missing."""
        values = floats_of(column, repr(str(column.name)))
        tokens = [float(token) for token in self.missing if is_plain_number(token)]
        return np.where(np.isin(values, tokens), np.nan, values) if tokens else values

    def _decide_text(self, name: str, text: ColumnText, wanted: str | None) -> ColumnReading:
        texts, counts = text.texts, text.counts
        if not texts:
            return ColumnReading(name, "empty")
        if wanted in WITH_LEVELS:
            return ColumnReading(name, wanted, levels=text.levels)
        if wanted == "boolean" or (wanted is None and {one.lower() for one in texts} <= set(_TRUTH)):
            if not {one.lower() for one in texts} & set(_TOLD_TRUTH):
                raise none_of_kind(name, texts, "boolean")
            notes = odd_cells(name, texts, counts, np.array([one.lower() in _TOLD_TRUTH for one in texts]), "boolean")
            return ColumnReading(name, "boolean", notes=tuple(notes))
        numbers, others = find_number_format(texts, counts, self.decimal, self.thousands)
        values = numbers.read(texts)
        share = float(np.isfinite(values) @ counts) / counts.sum()
        code = looks_like_code(texts, counts)
        if wanted == "number" or (wanted is None and share >= SHARE and not code):
            return self._decide_numbers(name, text, numbers, others, values, counted=wanted is None)
        dates, other_dates = find_date_format(texts, counts, self.date_format)
        days = dates.read(texts)
        share_of_dates = float(~np.isnat(days) @ counts) / counts.sum()
        if wanted == "date" or (wanted is None and share_of_dates >= SHARE):
            if np.isnat(days).all():
                raise none_of_kind(name, texts, "date")
            notes = odd_cells(name, texts, counts, ~np.isnat(days), "date")
            notes += dated(name, texts, days, dates, other_dates)
            return ColumnReading(name, "date", dates, notes=tuple(notes))
        partly = max((share, "number"), (share_of_dates, "date"))
        notes = [in_part(name, *partly)] if partly[0] >= HALF and not code else []
        return self._decide_words(name, text, notes)

    def _decide_numbers(
        self,
        name: str,
        text: ColumnText,
        taken: NumberFormat,
        other: NumberFormat | None,
        values: NDArray[np.float64],
        *,
        counted: bool,
    ) -> ColumnReading:
        """A column of numbers; `counted`: it may be an index or an identifier."""
        if not np.isfinite(values).any():
            raise none_of_kind(name, text.texts, "number")
        if counted and np.nanmax(np.abs(values), initial=0, where=np.isfinite(values)) > LARGEST_WHOLE:
            # As numbers they would be rounded, and some of them the same.
            if all(one.lstrip("+-").isdigit() for one in text.texts):
                unique = len(text.texts) == len(text.codes) >= FEWEST_IDENTIFIERS
                kind = "identifier" if unique else "category"
                return ColumnReading(name, kind, levels=text.levels, notes=(left_out(name, kind),) if unique else ())
        no_feature = _index_or_identifier(name, text.spread(values, np.nan)) if counted else None
        if no_feature is not None:
            return ColumnReading(name, no_feature, taken, notes=(left_out(name, no_feature),))
        notes = odd_cells(name, text.texts, text.counts, np.isfinite(values), "number")
        notes += converted(name, text.texts, values, taken, other)
        return ColumnReading(name, "number", taken, notes=tuple(notes))

    def _decide_words(self, name: str, text: ColumnText, notes: Sequence[str]) -> ColumnReading:
        """A column of words: an identifier, prose or a category."""
        counts = text.counts
        distinct = len(text.texts) == len(text.codes) >= FEWEST_IDENTIFIERS
        amounts = sum(bool(_AMOUNT.match(text)) for text in text.texts) >= SHARE * len(text.texts)
        if distinct and amounts:
            notes = [*notes, unknown_form(name, text.texts)]
        elif distinct and not any(" " in one for one in text.texts):
            return ColumnReading(name, "identifier", notes=(left_out(name, "identifier", is_number=False),))
        kind = "text" if holds_prose(text.texts, counts) else "category"
        return ColumnReading(name, kind, levels=text.levels, notes=tuple(notes))

    def read(self, one: ColumnReading, column: Any) -> tuple[Any, list[str]]:
        """Values (m,) of a column, read as was decided; every cell by itself, whatever the others are.

        Returns
        -------
        (ndarray of shape (m,) or None, list of str)
            None where the column stays as it is; and what its owner should know.

        Raises
        ------
        TableError
            If it holds another kind of values.
        """
        kind = column_kind(column)
        if kind == "empty" or one.kind == "empty":
            return (None if kind == one.kind else _missing(one.kind, len(column))), []
        if one.kind in ("category", "text"):
            return self._read_words(one, column, kind)
        if kind == "text" or (one.format is not None and kind != one.kind):
            return self._read_text(one, self.text(column))
        if kind != one.kind and {kind, one.kind} != {"number", "boolean"}:
            raise another_kind(one.name, one.kind, one.levels, f"{kind}s")
        if kind == "date":
            return (dates_of(column) if has_zone(column) else None), []
        if kind != "number":
            return None, []
        values = self._numbers(column)
        notes = infinite(one.name, values)
        return (np.where(np.isinf(values), np.nan, values) if notes or self.missing else None), notes

    def _read_text(self, one: ColumnReading, text: ColumnText) -> tuple[Any, list[str]]:
        """Numbers, dates or booleans in text."""
        if one.kind == "boolean":
            values: Any = np.array([_TOLD_TRUTH.get(item.lower()) for item in text.texts], dtype=object)
        else:
            values = (one.format or (DateFormat(ISO) if one.kind == "date" else NumberFormat())).read(text.texts)
        odd = odd_cells(one.name, text.texts, text.counts, ~pd.isna(values), one.kind)
        return text.spread(values, _missing(one.kind, 1)[0]), odd

    def _read_words(self, one: ColumnReading, column: Any, kind: str) -> tuple[Any, list[str]]:
        """Categories or prose; numbers where there were none are refused, other new values are counted."""
        text, known = self.text(column), one.known
        all_remembered = len(known) < MOST_LEVELS
        strange = [item for item in text.texts if item not in known] if all_remembered else []
        notes: list[str] = []
        if strange:
            new = np.array([item not in known for item in text.texts])
            if not _any_number(known):
                if kind not in ("text", "category"):
                    raise another_kind(one.name, one.kind, one.levels, f"{kind}s such as {strange[0]!r}")
                numeric = np.array([_any_number([item]) for item in text.texts]) & new
                # A single one is a value not seen in training.
                if text.counts[numeric].sum() > HALF * text.counts.sum():
                    number = text.texts[int(np.flatnonzero(numeric)[0])]
                    raise another_kind(one.name, one.kind, one.levels, f"numbers such as {number!r}")
            if one.kind == "category":
                notes = unseen(one.name, text.texts, text.counts, new)
        if kind == "category":
            return None, notes
        values = text.spread(np.array([*text.texts], dtype=object), None)
        same = kind == "text" and not bool((_cells(column) != values).any())
        return (None if same else values), notes


def _cells(column: Any) -> NDArray[Any]:
    """Cells (n,) of a column as Python objects."""
    if is_pandas(column, "Series"):
        return np.asarray(column.to_numpy(dtype=object))
    return pd.Series(column if isinstance(column, np.ndarray) else column.to_list(), dtype=object).to_numpy()


def _index_or_identifier(name: str, values: NDArray[np.float64]) -> str | None:
    """Return "index" for a column that counts the rows, "identifier" for whole numbers that differ, by their names."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    if _UNNAMED.fullmatch(name) and (np.diff(values) == 1).all() and values[0] in (0, 1):
        return "index"
    whole = len(values) >= FEWEST_IDENTIFIERS and (values % 1 == 0).all() and len(np.unique(values)) == len(values)
    return "identifier" if whole and _IDENTIFIER.search(name) else None


def _any_number(texts: Iterable[str]) -> bool:
    return bool(np.isfinite(NumberFormat().read(list(texts))).any())


def _missing(kind: str, n: int) -> NDArray[Any]:
    """Missing values (n,) of a column of this kind."""
    if kind == "date":
        return np.full(n, np.datetime64("NaT", "us"))
    return np.full(n, np.nan) if kind in ("number", "duration", "empty") else np.full(n, None, dtype=object)


def _as_text(cell: Any) -> str:
    """A cell as text without surrounding blanks; 2.0 is "2", as where no cell of the column is missing."""
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip()
