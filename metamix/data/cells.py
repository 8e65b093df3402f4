"""The type of a column from any library, and its conversion to numbers, dates or codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "codes_of",
    "column_kind",
    "date_part",
    "dates_of",
    "floats_of",
    "has_zone",
    "is_missing",
    "is_pandas",
    "numbers_of",
    "sorted_levels",
]

_KINDS = {"b": "boolean", "i": "number", "u": "number", "f": "number", "M": "date", "m": "duration"}
_KINDS |= {"U": "text", "S": "text"}


def is_pandas(X: Any, kind: str = "DataFrame") -> bool:
    """Tell whether X is a pandas object of this kind, without importing pandas.

    Examples
    --------
    >>> import pandas as pd
    >>> is_pandas(pd.Series([1])), is_pandas(pd.Series([1]), "Series")
    (False, True)
    """
    # If pandas has not been imported, X cannot be a pandas object.
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, getattr(pandas, kind))


def column_kind(column: Any) -> str:
    """Determine the type of a column from its dtype or, for Python objects, from its values.

    Parameters
    ----------
    column : array, pandas Series or narwhals Series
        (n,).

    Returns
    -------
    {"number", "boolean", "date", "duration", "category", "text", "empty"}
        "empty" where every value is missing.

    Examples
    --------
    >>> import numpy as np
    >>> column_kind(np.array([1.5, np.nan])), column_kind(np.array(["a", None], dtype=object))
    ('number', 'text')
    """
    if isinstance(column, np.ndarray):
        return _array_kind(column)
    if is_pandas(column, "Series"):
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiu":  # the most frequent, and fast
            return _array_kind(column.to_numpy())
        kind = _pandas_kind(column)
        if kind == "object":
            return _array_kind(column.to_numpy(dtype=object))
        return "empty" if len(column) and column.isna().all() else kind
    import narwhals as nw

    kind = _narwhals_kind(nw.from_native(column, series_only=True))
    if kind == "object":
        return _array_kind(np.array(column.to_list(), dtype=object))
    missing = kind != "empty" and len(column) > 0 and column.null_count() == len(column)
    if kind == "number" and not missing and column.dtype.is_float() and len(column):
        missing = bool(np.isnan(column.to_numpy()).all())
    return "empty" if missing else kind


def _array_kind(values: np.ndarray) -> str:
    letter = values.dtype.kind
    if letter == "O":
        return _object_kind(values)
    if letter == "f":
        return "empty" if len(values) and np.isnan(values).all() else "number"
    if letter not in _KINDS:
        raise TypeError(f"a column of {values.dtype} cannot be used: numbers, text, booleans or dates would do")
    return _KINDS[letter]


def _object_kind(values: np.ndarray) -> str:
    import datetime
    import decimal
    import numbers

    cells = values.tolist()
    types = {t for t in set(map(type, cells)) if t.__name__ not in ("NoneType", "NAType", "NaTType")}
    floats = {t for t in types if issubclass(t, float | np.floating)}
    if floats and all(value != value for value in cells if type(value) in floats):
        types -= floats
    if not types:
        return "empty"
    if types <= {bool, np.bool_}:
        return "boolean"
    if all(issubclass(t, numbers.Real | decimal.Decimal | np.number | np.bool_) for t in types):
        return "number"
    if all(issubclass(t, datetime.date | np.datetime64) for t in types):
        return "date"
    return "text"


def is_missing(value: Any) -> bool:
    """Whether a Python value is missing: None, NaN, NaT or NA.

    Examples
    --------
    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | np.datetime64) and bool(value != value)


def _pandas_kind(column: pd.Series) -> str:
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if isinstance(dtype, pd.StringDtype):
        return "text"
    letter = getattr(dtype, "kind", "O")
    if letter == "c":
        raise TypeError(f"column {column.name!r} holds complex numbers: Complex data not supported")
    return _KINDS.get(letter, "object")


def _narwhals_kind(column: Any) -> str:
    import narwhals as nw

    dtype = column.dtype
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, nw.Datetime | nw.Date):
        return "date"
    if isinstance(dtype, nw.Categorical | nw.Enum):
        return "category"
    table = {nw.Boolean: "boolean", nw.Duration: "duration", nw.String: "text"}
    for known, kind in table.items():
        if dtype == known:
            return kind
    return "empty" if column.null_count() == len(column) else "object"


# --- what it holds, as arrays -----------------------------------------------------------------------------


def numbers_of(column: Any, name: str = "") -> np.ndarray:
    """Convert numbers, booleans or durations (to seconds) to floats.

    Parameters
    ----------
    column : array, pandas Series or narwhals Series
        (n,).
    name : str
        Name of the column for error messages.

    Returns
    -------
    ndarray
        (n,) float64, missing as NaN.

    Raises
    ------
    ValueError
        The column contains non-numeric or infinite values.

    Examples
    --------
    >>> numbers_of(np.array([True, None], dtype=object)).tolist()
    [1.0, nan]
    """
    values = floats_of(column, name)
    if np.isinf(values).any():
        raise ValueError(f"column {name} contains infinity: finite numbers or missing values would do")
    return values


def floats_of(column: Any, name: str = "") -> np.ndarray:
    """Convert numbers, booleans or durations (to seconds) to floats, infinite ones too.

    Parameters
    ----------
    column : array, pandas Series or narwhals Series
        (n,).
    name : str
        Name of the column for error messages.

    Returns
    -------
    ndarray
        (n,) float64, missing as NaN.

    Raises
    ------
    ValueError
        The column contains something else, or numbers too large for 64 bits.

    Examples
    --------
    >>> floats_of(np.array([np.inf, None], dtype=object)).tolist()
    [inf, nan]
    """
    try:
        return _floats(column)
    except OverflowError:
        raise ValueError(f"column {name} holds numbers too large for 64 bits") from None
    except (TypeError, ValueError):
        raise _not_now(column, name, "numbers") from None


def _floats(column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        values = column
    elif is_pandas(column, "Series"):
        values = column.to_numpy()
    elif column.dtype.is_numeric() or str(column.dtype) == "Boolean":
        import narwhals as nw

        return column.cast(nw.Float64).to_numpy()
    else:
        values = column.to_numpy()
    if values.dtype.kind == "m":
        missing = np.isnat(values)
        return np.where(missing, np.nan, values.astype("m8[us]").astype(np.int64) / 1e6)
    if values.dtype.kind == "M":
        raise TypeError
    if values.dtype.kind == "O":
        try:
            return values.astype(np.float64)
        except TypeError:  # some missing values cannot be converted to float
            return np.array([np.nan if is_missing(v) else float(v) for v in values.tolist()], dtype=float)
    return values.astype(np.float64, copy=False)


def dates_of(column: Any, name: str = "") -> np.ndarray:
    """Convert dates to datetime64; those with a time zone are in UTC, so that an instant is one in every zone.

    Parameters
    ----------
    column : array, pandas Series or narwhals Series
        (n,).
    name : str
        Name of the column for error messages.

    Returns
    -------
    ndarray
        (n,) datetime64 in microseconds, missing as NaT.

    Raises
    ------
    ValueError
        The column holds something else.

    Examples
    --------
    >>> dates_of(np.array(["2024-02-29"], dtype="M8[D]")).astype(str).tolist()
    ['2024-02-29T00:00:00.000000']
    """
    kind = column_kind(column)
    if kind == "empty":
        return np.full(len(column), np.datetime64("NaT", "us"))
    if kind != "date":
        raise _not_now(column, name, "dates")
    if is_pandas(column, "Series") and has_zone(column):
        import pandas as pd

        column = pd.to_datetime(column, utc=True).dt.tz_localize(None)
    elif getattr(column.dtype, "time_zone", None) is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    values = column if isinstance(column, np.ndarray) else column.to_numpy()
    if values.dtype.kind == "O":
        values = np.array([None if is_missing(v) else _naive(v) for v in values.tolist()], dtype="M8[us]")
    return values.astype("M8[us]")


def has_zone(column: Any) -> bool:
    """Whether dates have a time zone, or some of them where they are Python objects.

    Examples
    --------
    >>> import pandas as pd
    >>> has_zone(pd.Series(pd.date_range("2024", periods=1, tz="UTC"))), has_zone(np.array(["2024"], dtype="M8[us]"))
    (True, False)
    """
    dtype = column.dtype
    if getattr(dtype, "kind", "") == "O" and (isinstance(column, np.ndarray) or is_pandas(column, "Series")):
        return any(getattr(value, "tzinfo", None) is not None for value in column.tolist())
    arrow = getattr(dtype, "pyarrow_dtype", None)
    return any(getattr(one, name, None) is not None for one in (dtype, arrow) for name in ("tz", "time_zone"))


def _naive(value: Any) -> Any:
    import datetime

    aware = getattr(value, "tzinfo", None) is not None
    return value.astimezone(datetime.UTC).replace(tzinfo=None) if aware else value


def date_part(dates: np.ndarray, part: str) -> np.ndarray:
    """Take one part of dates as a number.

    Parameters
    ----------
    dates : ndarray
        (n,) datetime64 in microseconds.
    part : {"seconds", "month", "weekday", "hour"}
        Seconds since 1970, 1 to 12, 0 (Monday) to 6, 0 to 23.

    Returns
    -------
    ndarray
        (n,) float64, missing as NaN.

    Examples
    --------
    >>> date_part(np.array(["2024-02-29"], dtype="M8[us]"), "weekday").tolist()
    [3.0]
    """
    if part == "seconds":
        values: np.ndarray = dates.astype(np.int64) / 1e6
    elif part == "month":
        values = dates.astype("M8[M]").astype(np.int64) % 12 + 1
    elif part == "weekday":
        values = (dates.astype("M8[D]").astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    else:
        values = dates.astype("M8[h]").astype(np.int64) % 24
    return np.where(np.isnat(dates), np.nan, values)


def codes_of(column: Any) -> tuple[np.ndarray, list[str], bool]:
    """Encode values of any type as integers and text levels.

    Parameters
    ----------
    column : array, pandas Series or narwhals Series
        (n,).

    Returns
    -------
    codes : ndarray
        (n,) integers into `levels`, -1 where missing.
    levels : list of str
        The values; a category type may name some that do not occur.
    ordered : bool
        Whether a category type gives the levels an order.

    Examples
    --------
    >>> codes, levels, ordered = codes_of(np.array(["b", None, "a", "b"], dtype=object))
    >>> codes.tolist(), levels, ordered
    ([0, -1, 1, 0], ['b', 'a'], False)
    """
    if is_pandas(column, "Series"):
        if hasattr(column, "cat") and column_kind(column) in ("category", "empty"):
            return (
                column.cat.codes.to_numpy(dtype=np.intp),
                [str(c) for c in column.cat.categories],
                bool(column.cat.ordered),
            )
        try:
            codes, values = column.factorize()
        except TypeError:  # lists or other cells that cannot be keys
            return (*_numbered(column.tolist(), []), False)
        return codes, list(map(str, values.tolist())), False
    order: list[str] = []
    if type(column.dtype).__name__ == "Enum":
        order = list(column.dtype.categories)
    cells = column.tolist() if isinstance(column, np.ndarray) else column.to_list()
    return (*_numbered(cells, order), bool(order))


def _numbered(cells: list[Any], order: list[str]) -> tuple[np.ndarray, list[str]]:
    try:
        distinct = list(dict.fromkeys([*order, *cells]))
    except TypeError:  # a list or another cell that cannot be a key
        cells = [None if is_missing(cell) else str(cell) for cell in cells]
        distinct = list(dict.fromkeys(cells))
    levels = [cell for cell in distinct if not is_missing(cell)]
    table = {cell: -1 for cell in distinct} | {cell: i for i, cell in enumerate(levels)}
    return np.fromiter(map(table.__getitem__, cells), np.intp, len(cells)), list(map(str, levels))


def sorted_levels(levels: Any) -> list[str]:
    """Sort levels numerically if all are numbers, else alphabetically.

    Examples
    --------
    >>> sorted_levels(["10", "9"]), sorted_levels(["b", "a"])
    (['9', '10'], ['a', 'b'])
    """
    try:
        as_numbers = {level: float(level) for level in levels}
    except ValueError:
        return sorted(levels)
    if not all(map(np.isfinite, as_numbers.values())):
        return sorted(levels)
    return sorted(levels, key=lambda level: (as_numbers[level], level))


def _not_now(column: Any, name: str, wanted: str) -> ValueError:
    found = column_kind(column)
    return ValueError(f"column {name} should hold {wanted}, as in training, but holds {found} now")
