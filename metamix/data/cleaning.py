"""What the columns of a table are, decided once by all of their values, and the table with these types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from metamix.data.cells import column_kind, dates_of, floats_of, has_zone, is_pandas
from metamix.data.date_text import ISO, DateFormat, find_date_format
from metamix.data.frames import TableError, frame_columns, is_frame, listed
from metamix.data.number_text import (
    DECIMALS,
    THOUSANDS,
    NumberFormat,
    find_number_format,
    is_plain_number,
    looks_like_code,
)

__all__ = ["KINDS", "ColumnReading", "TableCleaner", "TableWarning", "describe", "fit_cleaner"]

#: What a column can be told to be; it may also be found to be a duration, an index or empty.
KINDS = ("number", "date", "boolean", "category", "text", "identifier")
#: Identifiers and an index are left out.
LEFT_OUT = ("identifier", "index")
WORDY = ("category", "text", "identifier")
#: A column of text is numbers or dates if at least so much of it is; below, and above one half, that is said.
SHARE, HALF = 0.9, 0.5
#: Fewer distinct values are no sign of an identifier.
FEWEST_IDENTIFIERS = 20
#: Text of so many words in the mean, of which most values differ, is prose, not a category.
WORDS = 4
#: Levels of a category that are remembered, to tell unseen ones.
MOST_LEVELS = 10_000

_UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)?|column\.\d+|level_\d+|\.\.\.\d+|X|[Ii]ndex)?")
_IDENTIFIER = re.compile(r"(^|[_\s-])(?i:id|uuid|guid)$|[a-z](Id|ID)$")
#: Numbers as they are usually written; others, such as 007 or 1E5, may be codes, and reading them as numbers is said.
_USUAL = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]\d+)?")
_TRUTH = {"true": True, "false": False}


class TableWarning(UserWarning):
    """Something about how a table was read that its owner should know."""


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
    """

    name: str
    kind: str
    format: NumberFormat | DateFormat | None = None
    levels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Text:
    """Distinct texts of a column, without surrounding blanks, and where they stand; code -1 is missing."""

    texts: list[str]
    codes: NDArray[np.intp]

    @classmethod
    def of(cls, column: Any, missing: frozenset[str]) -> _Text:
        cells = column if isinstance(column, np.ndarray) or is_pandas(column, "Series") else column.to_list()
        try:
            codes, found = pd.factorize(pd.Series(cells, dtype=object).to_numpy())  # missing cells have code -1
        except TypeError:
            raise TableError(
                f"column {str(getattr(column, 'name', ''))!r} holds lists or other objects: one number, date or text "
                "in each cell would do"
            ) from None
        stripped = pd.Series([_as_text(cell) for cell in found], dtype=object)
        again, texts = pd.factorize(stripped.mask(stripped.isin({"", *missing})))
        return cls([str(text) for text in texts], np.append(again, -1)[codes])

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(self.texts[:MOST_LEVELS])

    @property
    def counts(self) -> NDArray[np.intp]:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts))

    def spread(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Values of the distinct texts, on their rows (n,)."""
        return np.append(values, np.array([missing], dtype=values.dtype))[self.codes]


class TableCleaner(BaseEstimator):
    """Columns of text that are numbers or dates become such; an index and identifiers are left out.

    What a column is, is decided by all of its values when the cleaner is fitted, and holds for every later table. Each
    change of what somebody wrote is a `TableWarning`, once by column. Columns that are numbers, dates or categories by
    their type stay as they are; infinite numbers become missing, and dates with a time zone are in UTC.

    Parameters
    ----------
    kinds : mapping of str to str, optional
        Kinds of columns by name, which decides for these; "number", "date", "boolean", "category", "text",
        "identifier" (left out).
    decimal, thousands : str, optional
        Marks of numbers in text. Without these the values of a column decide; `decimal` alone decides where they are
        ambiguous, as 1.234 is.
    date_format : str, optional
        Format of dates in text, as of `strptime`; without it the values of a column decide.
    missing : sequence of str, default ()
        Values that are missing in every column, as text; besides the empty one.

    Attributes
    ----------
    readings_ : list of ColumnReading
        Of the d columns, in their order.

    Examples
    --------
    >>> frame = pd.DataFrame({"price": ["$66,500", "$1,200"], "sold": ["31.01.2020", "01.02.2020"]})
    >>> TableCleaner().fit(frame).transform(frame)
         price       sold
    0  66500.0 2020-01-31
    1   1200.0 2020-02-01
    """

    def __init__(
        self,
        kinds: Mapping[str, str] | None = None,
        *,
        decimal: str | None = None,
        thousands: str | None = None,
        date_format: str | None = None,
        missing: Sequence[str] = (),
    ) -> None:
        self.kinds = kinds
        self.decimal = decimal
        self.thousands = thousands
        self.date_format = date_format
        self.missing = missing

    def fit(self, X: Any, y: Any = None) -> TableCleaner:
        """Decide what every column is.

        Parameters
        ----------
        X : data frame of shape (n, d)
        y : ignored

        Raises
        ------
        TableError
            If `kinds` names a column that is not there or a kind that is none.
        """
        names, columns = _named(X)
        self._check_parameters(names)
        known = dict(self.kinds or {})
        self.readings_ = [
            self._reading(name, column, known.get(name)) for name, column in zip(names, columns, strict=True)
        ]
        return self

    def transform(self, X: Any) -> Any:
        """The table with the types that were decided, without columns that are left out.

        Parameters
        ----------
        X : data frame of shape (m, d)
            With the columns of training, in any order. Absent ones are absent in the result, others stay as they are.

        Raises
        ------
        TableError
            If a column holds another kind of values than in training.
        """
        check_is_fitted(self)
        names, columns = _named(X)
        place = dict(zip(names, columns, strict=True))
        found: dict[str, Any] = {}
        notes: list[str] = []
        for one in self.readings_:
            if one.kind in LEFT_OUT or one.name not in place:  # what lacks is refused where the names are checked
                continue
            found[one.name], said = self._read(one, place[one.name])
            notes += said
        told = {note for one in self.readings_ for note in one.notes}
        for note in notes:
            if note not in told:
                warnings.warn(note, TableWarning, stacklevel=2)
        left = {one.name for one in self.readings_ if one.kind in LEFT_OUT}
        return _with_columns(X, {name: found.get(name) for name in names if name not in left})

    @property
    def notes_(self) -> list[str]:
        """What the owner of the table should know."""
        return [note for one in self.readings_ for note in one.notes]

    def report(self, X: Any) -> pd.DataFrame:
        """How each column of a table is read.

        Parameters
        ----------
        X : data frame of shape (m, d)

        Returns
        -------
        DataFrame of shape (d, 7)
            column, kind, missing, distinct, converted (the format of numbers and dates in text), left_out, note.
        """
        check_is_fitted(self)
        columns = dict(zip(*_named(X), strict=True))
        rows = []
        for one in (reading for reading in self.readings_ if reading.name in columns):
            text = _Text.of(columns[one.name], frozenset(self.missing))
            missing, distinct = int((text.codes < 0).sum()), len(text.texts)
            converted = "" if one.format is None else str(one.format)
            rows.append((one.name, one.kind, missing, distinct, converted, one.kind in LEFT_OUT, " ".join(one.notes)))
        return pd.DataFrame(rows, columns=["column", "kind", "missing", "distinct", "converted", "left_out", "note"])

    def _check_parameters(self, names: Sequence[str]) -> None:
        if not isinstance(self.kinds, Mapping | None):
            raise TableError(f"kinds={self.kinds!r}: a mapping such as {{'zip': 'category'}} would do")
        for name, kind in (self.kinds or {}).items():
            if name not in names:
                raise TableError(
                    f"kinds names the column {name!r}, which the table lacks: it has {listed(list(names))}"
                )
            if kind not in KINDS:
                raise TableError(f"kinds={{{name!r}: {kind!r}}}: one of {listed(KINDS)} would do")
        if isinstance(self.missing, str):
            raise TableError(f"missing={self.missing!r}: a list such as [{self.missing!r}] would do")
        if self.decimal not in (None, *DECIMALS):
            raise TableError(f"decimal={self.decimal!r}: '.' or ',' would do")
        if self.date_format is not None:
            try:
                pd.to_datetime(pd.Series(["2000-01-01"]), format=self.date_format, errors="coerce")
            except (TypeError, ValueError) as error:
                raise TableError(f"date_format={self.date_format!r}: {error}; '%d.%m.%Y' would do") from None
        if self.thousands is not None and (self.thousands not in THOUSANDS or self.decimal in (None, self.thousands)):
            raise TableError(
                f"thousands={self.thousands!r}, decimal={self.decimal!r}: two different marks would do, such as "
                "thousands='.', decimal=','"
            )

    def _reading(self, name: str, column: Any, wanted: str | None) -> ColumnReading:
        kind = column_kind(column)
        if kind == "text" or (wanted in ("number", "date") and kind not in (wanted, "boolean", "empty")):
            return self._decide(name, self._text(column), wanted)
        if (wanted or kind) in WORDY:
            return ColumnReading(name, wanted or kind, levels=self._text(column).levels)
        if kind != "number" or wanted is not None:
            return ColumnReading(name, wanted or kind)
        values = self._numbers(column)
        left_out = _kind_left_out(name, values)
        notes = _infinite(name, values) if left_out is None else [_left_out(name, left_out)]
        return ColumnReading(name, left_out or kind, notes=tuple(notes))

    def _text(self, column: Any) -> _Text:
        return _Text.of(column, frozenset(self.missing))

    def _numbers(self, column: Any) -> NDArray[np.float64]:
        """Numbers of a numeric column, with NaN for what is missing."""
        values = floats_of(column, repr(str(column.name)))
        tokens = [float(token) for token in self.missing if is_plain_number(token)]
        return np.where(np.isin(values, tokens), np.nan, values) if tokens else values

    def _decide(self, name: str, text: _Text, wanted: str | None) -> ColumnReading:
        """What a column of text is."""
        texts, counts = text.texts, text.counts
        if not texts:
            return ColumnReading(name, "empty")
        if wanted in WORDY:
            return ColumnReading(name, wanted, levels=text.levels)
        if wanted == "boolean" or (wanted is None and {one.lower() for one in texts} <= set(_TRUTH)):
            return ColumnReading(name, "boolean")
        total = int(counts.sum())
        number, other_number = find_number_format(texts, counts, self.decimal, self.thousands)
        values = number.read(texts)
        share = float(np.isfinite(values) @ counts) / total
        if wanted == "number" or (wanted is None and share >= SHARE and not looks_like_code(texts, counts)):
            if not np.isfinite(values).any():
                raise _none_of_kind(name, texts, "number")
            kind = None if wanted else _kind_left_out(name, text.spread(values, np.nan))
            if kind is not None:
                return ColumnReading(name, kind, number, notes=(_left_out(name, kind),))
            notes = _odd(name, texts, counts, np.isfinite(values), "numbers")
            if other_number is not None:
                notes += [_ambiguous(name, texts, number, other_number, "decimal")]
            else:
                notes += _converted(name, texts, values, number)
            return ColumnReading(name, "number", number, notes=tuple(notes))
        date, other_date = find_date_format(texts, counts, self.date_format)
        dates = date.read(texts)
        date_share = float(~np.isnat(dates) @ counts) / total
        if wanted == "date" or (wanted is None and date_share >= SHARE):
            if np.isnat(dates).all():
                raise _none_of_kind(name, texts, "date")
            notes = _odd(name, texts, counts, ~np.isnat(dates), "dates")
            if other_date is not None:
                notes += [_ambiguous(name, texts, date, other_date, "date_format")]
            else:
                notes += _dated(name, texts, dates, date)
            return ColumnReading(name, "date", date, notes=tuple(notes))
        return self._words(name, text, max((share, "numbers"), (date_share, "dates")))

    def _words(self, name: str, text: _Text, partly: tuple[float, str]) -> ColumnReading:
        texts, counts = text.texts, text.counts
        notes = []
        if partly[0] >= HALF and not looks_like_code(texts, counts):
            kind = partly[1].rstrip("s")
            notes.append(
                f"{name}: {100 * partly[0]:.0f} % of the values are {partly[1]}, too few to take the others as "
                f"missing: it stays text. kinds={{{name!r}: {kind!r}}} takes them as missing."
            )
        words = float(np.array([one.count(" ") + 1 for one in texts]) @ counts) / counts.sum()
        distinct = len(texts) == counts.sum() >= FEWEST_IDENTIFIERS
        if distinct and words == 1 and (text.codes >= 0).all():
            return ColumnReading(name, "identifier", notes=(_left_out(name, "identifier", is_number=False),))
        kind = "text" if words >= WORDS and len(texts) > HALF * counts.sum() else "category"
        return ColumnReading(name, kind, levels=text.levels, notes=tuple(notes))

    def _read(self, one: ColumnReading, column: Any) -> tuple[Any, list[str]]:
        """New values (m,) of a column, None where it stays as it is, and what to say.

        Every cell is read by itself, whatever the others are.
        """
        kind = column_kind(column)
        if kind == "empty" or one.kind == "empty":
            return (None if kind == one.kind else _missing(one.kind, len(column))), []
        if one.kind in ("category", "text"):
            return self._read_words(one, column, kind)
        as_text = kind == "text" or (one.format is not None and kind != one.kind)
        if not as_text:
            if kind != one.kind and {kind, one.kind} != {"number", "boolean"}:
                raise _another_kind(one, f"{kind}s")
            return self._read_native(one, column, kind)
        text = self._text(column)
        if one.kind == "boolean":
            values: Any = np.array([_TRUTH.get(item.lower()) for item in text.texts], dtype=object)
            fine = np.array([value is not None for value in values], dtype=bool)
        elif one.kind == "date":
            values = (one.format or DateFormat(ISO)).read(text.texts)
            fine = ~np.isnat(values)
        elif isinstance(one.format, NumberFormat) and kind != "number":
            values = one.format.read(text.texts)
            fine = np.isfinite(values)
        else:
            values = NumberFormat().read(text.texts)
            fine = np.isfinite(values)
        if not text.texts:
            return _missing(one.kind, len(column)), []
        odd = _odd(one.name, text.texts, text.counts, fine, f"{one.kind}s")
        return text.spread(values, _missing(one.kind, 1)[0]), odd

    def _read_native(self, one: ColumnReading, column: Any, kind: str) -> tuple[Any, list[str]]:
        if kind == "date":
            return (dates_of(column) if has_zone(column) else None), []
        if kind != "number":
            return None, []
        values = self._numbers(column)
        notes = _infinite(one.name, values)
        if notes or self.missing:
            return np.where(np.isinf(values), np.nan, values), notes
        return None, []

    def _read_words(self, one: ColumnReading, column: Any, kind: str) -> tuple[Any, list[str]]:
        text = self._text(column)
        unseen = np.array([item not in set(one.levels) for item in text.texts], dtype=bool)
        if len(one.levels) < MOST_LEVELS and unseen.any() and not _any_number(one.levels):
            strange = [item for item, new in zip(text.texts, unseen, strict=True) if new]
            if kind not in ("text", "category"):
                raise _another_kind(one, f"{kind}s such as {strange[0]!r}")
            numbers = [item for item in strange if _any_number([item])]
            if numbers:
                raise _another_kind(one, f"numbers such as {numbers[0]!r}")
        notes = _unseen(one, text, unseen) if one.kind == "category" else []
        if kind == "category":
            return None, notes
        values = text.spread(np.array([*text.texts], dtype=object), None)
        if kind == "text":  # a column without blanks around its texts stays as it is
            cells = column if isinstance(column, np.ndarray) or is_pandas(column, "Series") else column.to_list()
            if not bool((np.asarray(cells, dtype=object) != values).any()):
                return None, notes
        return values, notes

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and transform."""
        return self.fit(X).transform(X)


def describe(X: Any) -> pd.DataFrame:
    """How metamix reads a table, a row per column.

    Parameters
    ----------
    X : data frame of shape (n, d)

    Returns
    -------
    DataFrame of shape (d, 7)
        column, kind, missing, distinct, converted, left_out, note.

    Examples
    --------
    >>> describe(pd.DataFrame({"size": ["1,5", "2,0"], "city": ["Rome", "Oslo"]}))[["column", "kind"]]
      column      kind
    0   size    number
    1   city  category
    """
    return TableCleaner().fit(X).report(X)


def fit_cleaner(columns: Any, X: Any) -> Any:
    """A cleaner fitted to a frame; what it noticed is said.

    Parameters
    ----------
    columns : None, mapping of str to str, or cleaner
        None decides by the columns, a mapping names kinds. A cleaner is cloned: an unfitted estimator with `fit` and
        `transform`.
    X : data frame of shape (n, d)

    Raises
    ------
    TypeError
        If `columns` is nothing of these.
    """
    if columns is None or isinstance(columns, Mapping):
        columns = TableCleaner(columns)
    if isinstance(columns, type) or not (hasattr(columns, "fit") and hasattr(columns, "transform")):
        raise TypeError(
            f"columns={columns!r}: a mapping from names to kinds, such as {{'zip': 'category'}}, or a cleaner such as "
            "TableCleaner(decimal=',') would do"
        )
    cleaner = clone(columns).fit(X)
    for note in getattr(cleaner, "notes_", []):
        warnings.warn(note, TableWarning, stacklevel=4)
    return cleaner


def _named(X: Any) -> tuple[list[str], list[Any]]:
    if not is_frame(X):
        raise TableError(f"a {type(X).__name__} has no columns with names: give a data frame")
    columns = frame_columns(X)
    names = [str(column.name) for column in columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f"X has more than one column named {twice!r}: rename one of them")
    return names, columns


def _kind_left_out(name: str, values: NDArray[np.float64] | None) -> str | None:
    """Return "index" for a column that counts the rows, "identifier" for whole numbers that differ, by their names."""
    if values is None or len(values) < 2 or not np.isfinite(values).all():
        return None
    if _UNNAMED.fullmatch(name) and (np.diff(values) == 1).all() and values[0] in (0, 1):
        return "index"
    whole = len(values) >= FEWEST_IDENTIFIERS and (values % 1 == 0).all() and len(np.unique(values)) == len(values)
    return "identifier" if whole and _IDENTIFIER.search(name) else None


def _left_out(name: str, kind: str, *, is_number: bool = True) -> str:
    why = "counts the rows" if kind == "index" else "has another value in every row"
    keep = "number" if is_number else "category"
    return f"{name or 'the column without a name'}: {why}; it is left out. kinds={{{name!r}: {keep!r}}} keeps it."


def _shown(texts: Sequence[str], most: int = 3) -> str:
    return listed([repr(text[:30]) for text in texts], most)


def _odd(name: str, texts: Sequence[str], counts: NDArray[np.intp], fine: NDArray[np.bool_], what: str) -> list[str]:
    if fine.all():
        return []
    odd = [text for text, ok in zip(texts, fine, strict=True) if not ok]
    count, total = int(counts[~fine].sum()), int(counts.sum())
    are, what = ("is", f"no {what.rstrip('s')}") if count == 1 else ("are", f"no {what}")
    return [f"{name}: {count} of {total} values {are} {what} ({_shown(odd)}), taken as missing."]


def _ambiguous(name: str, texts: Sequence[str], taken: Any, other: Any, option: str) -> str:
    values = [
        (text, one, two)
        for text, one, two in zip(texts, taken.read(texts), other.read(texts), strict=True)
        if one != two
    ]
    text, one, two = values[0]
    would = other.decimal if option == "decimal" else other.pattern
    return f"{name}: {text!r} is read as {_plain(one)}, not {_plain(two)}. {option}={would!r} decides otherwise."


def _converted(name: str, texts: Sequence[str], values: NDArray[np.float64], taken: NumberFormat) -> list[str]:
    """What to say of numbers that are written otherwise than in Python; nothing where none is."""
    for text, value in zip(texts, values, strict=True):
        if np.isfinite(value) and not _USUAL.fullmatch(text):
            return [f"{name}: numbers with {taken}; {text!r} is read as {_plain(value)}."]
    return []


def _plain(value: Any) -> str:
    return str(value)[:10] if isinstance(value, np.datetime64) else f"{value:.12g}"


def _any_number(texts: Sequence[str]) -> bool:
    return bool(np.isfinite(NumberFormat().read(list(texts))).any())


def _missing(kind: str, n: int) -> NDArray[Any]:
    """Missing values (n,) of a column of this kind."""
    if kind == "date":
        return np.full(n, np.datetime64("NaT", "us"))
    return np.full(n, np.nan) if kind in ("number", "duration", "empty") else np.full(n, None, dtype=object)


def _none_of_kind(name: str, texts: Sequence[str], kind: str) -> TableError:
    return TableError(
        f"kinds={{{name!r}: {kind!r}}}: column {name!r} has none, but {_shown(texts)}: leave it out of kinds"
    )


def _dated(name: str, texts: Sequence[str], dates: NDArray[Any], taken: DateFormat) -> list[str]:
    """What to say of dates that are not written as year, month and day."""
    for text, value in zip(texts, dates, strict=True):
        if not np.isnat(value) and (taken.pattern != ISO or len(text) < len("2000-01-01")):
            return [f"{name}: dates as {taken}; {text!r} is read as {_plain(value)}."]
    return []


def _as_text(cell: Any) -> str:
    """A cell as text without surrounding blanks; 2.0 is "2", as where no cell of the column is missing."""
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip()


def _infinite(name: str, values: NDArray[np.float64]) -> list[str]:
    count = int(np.isinf(values).sum())
    return [f"{name}: {count} of {len(values)} values {'is' if count == 1 else 'are'} infinite, taken as missing."] * (
        count > 0
    )


def _another_kind(one: ColumnReading, found: str) -> TableError:
    held = f"{one.kind}s" if one.kind in ("number", "date", "boolean", "duration") else "text"
    such = f" such as {_shown(sorted(one.levels), 2)}" if one.levels else ""
    return TableError(
        f"column {one.name!r} held {held}{such} in training, and holds {found} now: write them as in training"
    )


def _unseen(one: ColumnReading, text: _Text, unseen: NDArray[np.bool_]) -> list[str]:
    """What to say of values that training did not have."""
    if not unseen.any() or len(one.levels) >= MOST_LEVELS:
        return []
    count, total = int(text.counts[unseen].sum()), int(text.counts.sum())
    new = [item for item, is_new in zip(text.texts, unseen, strict=True) if is_new]
    return [
        f"{one.name}: {count} of {total} values {'was' if count == 1 else 'were'} not seen in training ({_shown(new)})."
    ]


def _with_columns(X: Any, columns: Mapping[str, Any]) -> Any:
    """X with the given columns alone, new values in place of old ones where there are some."""
    import narwhals as nw

    if is_pandas(X):
        out = X[[name for name in X.columns if str(name) in columns]].copy(deep=False)
        for name in list(out.columns):
            if columns[str(name)] is not None:
                out[name] = columns[str(name)]
        return out
    frame = nw.from_native(X, eager_only=True).select(list(columns))
    new = [
        nw.new_series(name, values.tolist() if values.dtype == object else values, backend=frame.implementation)
        for name, values in columns.items()
        if values is not None
    ]
    return frame.with_columns(new).to_native()
