"""What the columns of a table are, decided once by all of their values, and the table with these types."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from metamix.data.cells import is_pandas
from metamix.data.column_reading import KINDS, LEFT_OUT, ColumnReader
from metamix.data.frames import TableError, frame_columns, is_frame, listed
from metamix.data.number_text import DECIMALS, THOUSANDS

__all__ = ["TableCleaner", "TableWarning", "describe", "fit_cleaner"]

#: Of so few rows all cells are taken at once as Python objects, in a time that does not grow with the columns.
FEW_ROWS = 20


class TableWarning(UserWarning):
    """Something about how a table was read that its owner should know."""


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
            self._reader.decide(name, column, known.get(name)) for name, column in zip(names, columns, strict=True)
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
        settled = self._settled(X)
        if settled and len(settled) == X.shape[1]:
            return X.copy(deep=False)
        names, columns = _named(X, settled)
        place = dict(zip(names, columns, strict=True))
        reader = self._reader
        found: dict[str, Any] = {}
        notes: list[str] = []
        for one in self.readings_:
            # What lacks is refused where the names are checked.
            if one.kind in LEFT_OUT or one.name not in place or one.name in settled:
                continue
            found[one.name], said = reader.read(one, place[one.name])
            notes += said
            if one.told and one.kind == "category":  # by its type, so that no encoder takes it for text
                text = reader.text(place[one.name])
                found[one.name] = pd.Categorical(text.spread(np.array([*text.texts], dtype=object), None))
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
            text = self._reader.text(columns[one.name])
            missing, distinct = int((text.codes < 0).sum()), len(text.texts)
            converted = "" if one.format is None else str(one.format)
            rows.append((one.name, one.kind, missing, distinct, converted, one.kind in LEFT_OUT, " ".join(one.notes)))
        return pd.DataFrame(rows, columns=["column", "kind", "missing", "distinct", "converted", "left_out", "note"])

    def _settled(self, X: Any) -> set[str]:
        """Columns that stay as they are, found without reading them one by one.

        That would take as long as a fast expert does for one row. They were numbers, and are finite numbers or missing
        by their type; or they were words, and all cells are words that training had.
        """
        if not is_pandas(X) or len(X) > FEW_ROWS or self.missing:
            return set()
        readings = {one.name: one for one in self.readings_ if not one.told}
        numbers: dict[str, int] = {}
        words: set[str] = set()
        cells = X.to_numpy(dtype=object)
        for j, (name, dtype) in enumerate(zip(X.columns.tolist(), X.dtypes.tolist(), strict=True)):
            one = readings.get(name)
            if one is None:
                continue
            if one.kind == "number" and isinstance(dtype, np.dtype) and dtype.kind in "fiu":
                numbers[name] = j
            elif one.kind in ("category", "text") and all(
                type(cell) is str and cell in one.known for cell in cells[:, j]
            ):
                words.add(name)
        infinite = np.isinf(cells[:, [*numbers.values()]].astype(np.float64)).any()
        return words if infinite else words.union(numbers)

    @property
    def _reader(self) -> ColumnReader:
        return ColumnReader(self.decimal, self.thousands, self.date_format, self.missing)

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


def _named(X: Any, settled: Collection[str] = ()) -> tuple[list[str], list[Any]]:
    """Names and columns; None in place of those that are settled."""
    if not is_frame(X):
        raise TableError(f"a {type(X).__name__} has no columns with names: give a data frame")
    if settled and X.columns.is_unique:
        labels = X.columns.tolist()
        names = [*map(str, labels)]
        columns = [None if name in settled else X[label] for name, label in zip(names, labels, strict=True)]
    else:
        columns = frame_columns(X)
        names = [str(column.name) for column in columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f"X has more than one column named {twice!r}: rename one of them")
    return names, columns


def _with_columns(X: Any, columns: Mapping[str, Any]) -> Any:
    """X with the given columns alone, new values in place of old ones where there are some."""
    import narwhals as nw

    if is_pandas(X):
        kept = [name for name in X.columns.tolist() if str(name) in columns]
        out = (X if len(kept) == X.shape[1] else X[kept]).copy(deep=False)
        for name in kept:
            if columns[str(name)] is not None:
                out[name] = columns[str(name)]
        return out
    frame = nw.from_native(X, eager_only=True).select(list(columns))
    new = [_series(name, values, frame.implementation) for name, values in columns.items() if values is not None]
    return frame.with_columns(new).to_native()


def _series(name: str, values: Any, backend: Any) -> Any:
    """A narwhals series of values (n,)."""
    import narwhals as nw

    if isinstance(values, pd.Categorical):
        cells = [None if pd.isna(cell) else cell for cell in values]
        return nw.new_series(name, cells, nw.Categorical(), backend=backend)
    return nw.new_series(name, values.tolist() if values.dtype == object else values, backend=backend)
