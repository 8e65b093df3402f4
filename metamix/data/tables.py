"""The target of a table: split off, and the task that it poses; rows that are none."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from metamix.data.cells import column_kind, is_missing, is_pandas
from metamix.data.frames import TableError, column_names, is_frame, listed, n_rows, take_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TableError",
    "check_classes",
    "column_names",
    "is_frame",
    "leave_out_rows",
    "n_rows",
    "recognise_task",
    "split_target",
    "take_rows",
    "total_row",
]

_SURELY_FEW, _FEW_VALUES = 5, 10  # whole numbers with so few distinct values may be labels: recognise_task
#: More classes than these, in fewer than twice as many rows, are no classes.
MANY_CLASSES = 20
#: A class with more than this share of the rows is said.
UNEVEN = 0.95
#: What the cell of a row of totals says, in small letters; shorter tables have none.
TOTALS = {"total", "totals", "grand total", "sum", "sum total", "gesamt", "summe", "totale", "suma", "总计", "合计"}
MIN_TOTALLED = 4


def leave_out_rows(X: Any, y: Any) -> tuple[Any, Any, int]:
    """Rows that have a target, and how many have none.

    Parameters
    ----------
    X : DataFrame of shape (n, d)
    y : Series of shape (n,)

    Raises
    ------
    TableError
        If no row has one.

    Examples
    --------
    >>> import pandas as pd
    >>> leave_out_rows(pd.DataFrame({"a": [1, 2]}), pd.Series([0.5, None]))[1:]
    (0    0.5
    dtype: float64, 1)
    """
    known = y.notna().to_numpy()
    if not known.any():
        raise TableError(f"the target {y.name!r} is missing in every row")
    return (X, y, 0) if known.all() else (X[known], y[known], int((~known).sum()))


def total_row(frame: pd.DataFrame, decimal: str = ".") -> str:
    """What marks the last row as totals of the others; empty if nothing does.

    One of its cells says so, and a number of it is the sum of its column.

    Examples
    --------
    >>> import pandas as pd
    >>> total_row(pd.DataFrame({"city": ["Rome", "Oslo", "Bern", "Total"], "price": ["2", "3", "4", "9"]}))
    "'Total' in city"
    """
    from metamix.data.cells import floats_of
    from metamix.data.cleaning import TableCleaner

    if len(frame) < MIN_TOTALLED:
        return ""
    last = frame.iloc[-1]
    word = next((name for name in frame.columns if str(last[name]).strip().lower() in TOTALS), None)
    if word is None:
        return ""
    cleaner = TableCleaner(decimal=decimal).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = cleaner.transform(frame)
    for one in cleaner.readings_:
        if one.kind == "number":
            values = floats_of(clean[one.name])
            if np.isclose(values[-1], np.nansum(values[:-1]), rtol=1e-9, atol=0):
                return f"{str(last[word]).strip()!r} in {word or 'the column without a name'}"
    return ""


def check_classes(y: Any, name: str) -> list[str]:
    """What is odd about classes, as sentences.

    Parameters
    ----------
    y : Series of shape (n,)
    name : str

    Raises
    ------
    TableError
        If nearly every row has a class of its own, or there is one class only.

    Examples
    --------
    >>> import pandas as pd
    >>> check_classes(pd.Series(["a", "b"] * 9 + ["c"]), "kind")
    ["kind: the class 'c' has one row; it cannot be learned and judged as well."]
    """
    counts = y.value_counts()
    if len(counts) == 1:
        raise TableError(f"the target {name!r} is {counts.index[0]!r} in every row: there is nothing to tell apart")
    if len(counts) > MANY_CLASSES and len(counts) > len(y) / 2:
        raise TableError(
            f"the target {name!r} has {len(counts)} classes in {len(y)} rows, such as {counts.index[0]!r}: give a "
            f"column with fewer, or --types {name}=number if they are numbers"
        )
    alone = [repr(label) for label, count in counts.items() if count == 1]
    notes = []
    if alone:
        said = f"class {alone[0]} has" if len(alone) == 1 else f"classes {listed(alone, 3)} have"
        notes.append(f"{name}: the {said} one row; it cannot be learned and judged as well.")
    if counts.max() > UNEVEN * len(y):
        notes.append(f"{name}: {100 * counts.max() / len(y):.1f} % of the rows are {counts.index[0]!r}.")
    return notes


def split_target(frame: Any, column: str) -> tuple[Any, Any]:
    """Split a frame into features and target.

    Parameters
    ----------
    frame : data frame
        (n, d).
    column : str
        The target's name.

    Returns
    -------
    X : data frame
        (n, d - 1), of the same kind as `frame`.
    y : series
        (n,).

    Raises
    ------
    TableError
        No such column, or no other column.

    Examples
    --------
    >>> import pandas as pd
    >>> X, y = split_target(pd.DataFrame({"size": [1, 2], "price": [3.0, 4.0]}), "price")
    >>> list(X.columns), y.tolist()
    (['size'], [3.0, 4.0])
    """
    import narwhals as nw

    native = nw.from_native(frame, eager_only=True)
    names = list(native.columns)
    if column not in names:
        near = get_close_matches(str(column), [str(name) for name in names], n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise TableError(f"there is no column {column!r}:{hint} the columns are {listed([str(n) for n in names])}")
    if len(names) == 1:
        raise TableError(f"the table has no column but the target {column!r}: nothing to predict it from")
    return native.drop(column).to_native(), native[column].to_native()


def recognise_task(y: Any) -> str:
    """Infer from a target whether the task is regression or classification.

    Text, categories and booleans mean classification; non-integer or infinite numbers mean regression. Integers,
    also those stored as floats, mean classification if there are two distinct values, or up to five that each
    occur at least three times, or up to ten that each also occur in at least 1 % of the rows; otherwise
    regression. Missing values are ignored.

    Parameters
    ----------
    y : array, series or sequence
        (n,).

    Returns
    -------
    {"regression", "classification"}

    Raises
    ------
    TableError
        y is empty, wholly missing, has more than one column, or holds dates or durations.

    Examples
    --------
    >>> recognise_task(["no", "yes"]), recognise_task([1.5, 2.0]), recognise_task([0, 1, 1.0, 0])
    ('classification', 'regression', 'classification')
    """
    column = _as_column(y)
    kind = column_kind(column)
    if kind in ("text", "category", "boolean"):
        return "classification"
    if kind != "number" or not len(column):
        found = f"of {kind}s" if len(column) and kind != "empty" else "without values"
        raise TableError(f"a target {found} cannot be predicted: numbers or classes would do")
    values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    if values.dtype == object:
        values = np.array([np.nan if is_missing(v) else float(v) for v in values.tolist()])
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if np.any(values % 1 != 0) if np.isfinite(values).all() else True:
        return "regression"
    counts = np.unique(values, return_counts=True)[1]
    if len(counts) == 2:
        return "classification"
    often = counts.min() >= max(3, 0.01 * len(values) if len(counts) > _SURELY_FEW else 0)
    return "classification" if 2 < len(counts) <= _FEW_VALUES and often else "regression"


def _as_column(y: Any) -> Any:
    if isinstance(y, list | tuple):
        y = np.array(y, dtype=None if len({isinstance(v, str) for v in y}) == 1 else object)
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if is_frame(y) or getattr(y, "ndim", 1) != 1:
        raise TableError(f"a target of shape {tuple(y.shape)} is not one column: give one column")
    if isinstance(y, np.ndarray) or is_pandas(y, "Series"):
        return y
    import narwhals as nw

    try:
        return nw.from_native(y, series_only=True)
    except TypeError:
        raise TableError(f"y is a {type(y).__name__}; give one column, an array, a list or a series") from None
