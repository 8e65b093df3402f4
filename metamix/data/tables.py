"""Reading and describing tables, splitting off the target, and recognising the task."""

from __future__ import annotations

import csv
import gzip
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamix.data.cells import column_kind, is_missing, is_pandas
from metamix.data.frames import TableError, column_names, frame_columns, is_frame, listed, n_rows, take_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TableError",
    "column_names",
    "describe",
    "is_frame",
    "n_rows",
    "read_table",
    "recognise_task",
    "split_target",
    "take_rows",
]

_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?"
_SURELY_FEW, _FEW_VALUES = 5, 10  # whole numbers with so few distinct values may be labels: recognise_task


def read_table(path: str | Path) -> pd.DataFrame:
    r"""Read a table from a CSV, TSV or Parquet file.

    In text files the separator (comma, semicolon or tab) is recognised from the header; text stays text,
    and columns become dates where every value is an ISO date, booleans where every value is true or false.

    Parameters
    ----------
    path : str or path
        A file that ends in .csv, .csv.gz, .tsv, .tsv.gz or .parquet.

    Returns
    -------
    pandas.DataFrame
        (n, d) with n > 0 and distinct column names.

    Raises
    ------
    TableError
        The file is missing, a folder, empty, of an unknown kind or not a table; a header without rows;
        two columns of one name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "t.csv")
    ...     _ = path.write_text("city;size\nRome;2\nOslo;3\n")
    ...     read_table(path)["size"].tolist()
    [2, 3]
    """
    path = Path(path)
    ending = next((end for end in _ENDINGS[::-1] if path.name.lower().endswith(end)), None)
    if path.is_dir():
        raise TableError(f"{path} is a folder: give one file that ends in {listed(_ENDINGS)}")
    if not path.exists():
        raise TableError(f"{path} does not exist{_near_file(path)}")
    if ending is None:
        raise TableError(f"{path} is of an unknown kind: a file that ends in {listed(_ENDINGS)} would do")
    if path.stat().st_size == 0:
        raise TableError(f"{path} is empty: a header line and rows would do")
    frame = _read_parquet(path) if ending == ".parquet" else _read_text(path, ending)
    repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if repeated:
        raise TableError(f"{path} has more than one column named {listed(repeated)}: rename one of them")
    if not len(frame) or not frame.shape[1]:
        raise TableError(f"{path} has a header but no rows: at least one row of values is needed")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError:
        raise TableError(f"reading {path} needs pyarrow: pip install pyarrow") from None
    except (ValueError, OSError, KeyError) as error:
        raise TableError(f"{path} is not a Parquet file ({_first_line(error)})") from None


def _read_text(path: Path, ending: str) -> pd.DataFrame:
    import pandas as pd

    try:
        separator, header = _read_header(path, ending)
        frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError:
        raise TableError(f"{path} is not a table in UTF-8 text: save it as CSV in UTF-8") from None
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise TableError(f"{path} is not a table ({_first_line(error)})") from None
    if not frame.index.equals(pd.RangeIndex(len(frame))):  # pandas has taken an extra field for row labels
        raise TableError(f"{path} is not a table: its rows have more fields than its header, which has {len(header)}")
    if len(frame.columns) == len(header):  # pandas renames duplicate names, which should be reported
        frame.columns = pd.Index([name or str(old) for name, old in zip(header, frame.columns, strict=True)])
    if frame.columns.is_unique:
        for name in frame.columns:
            frame[name] = _refined(frame[name], separator)
    return frame


def _read_header(path: Path, ending: str) -> tuple[str, list[str]]:
    opened = gzip.open if ending.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        line = next((line for line in file if line.strip()), "")
    if "\0" in line:
        raise ValueError("it holds binary data")
    if not line:
        raise ValueError("it holds blank lines only")
    candidates = "\t" if ending.startswith(".tsv") else ",;\t"
    fields = [(separator, next(csv.reader([line], delimiter=separator))) for separator in candidates]
    return max(fields, key=lambda pair: len(pair[1]))


def _refined(column: pd.Series, separator: str) -> pd.Series:
    """Convert text columns of ISO dates, booleans with missing values, or numbers with a decimal comma."""
    import pandas as pd

    if column.dtype == object and column.dropna().isin([True, False]).all() and column.notna().any():
        return column.astype("boolean")
    if not isinstance(column.dtype, pd.StringDtype):
        return column
    present = column.dropna()
    if present.empty:
        return column
    if separator == ";" and present.str.fullmatch(r"\s*[+-]?\d*,?\d+(?:[eE][+-]?\d+)?\s*").all():
        return pd.to_numeric(column.str.replace(",", "."))
    if present.iloc[:10].str.fullmatch(_ISO_DATE).all() and present.str.fullmatch(_ISO_DATE).all():
        return _dates(column)
    return column


def _dates(column: pd.Series) -> pd.Series:
    import pandas as pd

    for utc in (False, True):  # time zone offsets that differ between rows need UTC
        try:
            return pd.to_datetime(column, format="ISO8601", utc=utc)
        except ValueError:
            continue
    return column


def _near_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    near = get_close_matches(path.name, [p.name for p in folder.iterdir()], n=1)
    return f": did you mean {folder / near[0]}?" if near else ": give the path of a CSV or Parquet file"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def describe(frame: Any) -> pd.DataFrame:
    """Summarise a frame, one line per column.

    Parameters
    ----------
    frame : data frame
        (n, d).

    Returns
    -------
    pandas.DataFrame
        (d, 4): column, kind (as in `column_kind`), missing values, distinct values.

    Examples
    --------
    >>> import pandas as pd
    >>> describe(pd.DataFrame({"size": [1.5, None], "city": ["Rome", "Oslo"]}))
      column    kind  missing  distinct
    0   size  number        1         1
    1   city    text        0         2
    """
    import narwhals as nw
    import pandas as pd

    names = nw.from_native(frame, eager_only=True).columns
    lines = []
    for name, column in zip(names, frame_columns(frame), strict=True):
        present = nw.from_native(column, series_only=True).drop_nulls()
        lines.append((name, column_kind(column), len(column) - len(present), present.n_unique()))
    return pd.DataFrame(lines, columns=["column", "kind", "missing", "distinct"])


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
        No such column, no other column, or missing values in the target.

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
    y = native[column]
    missing = y.null_count()
    if y.dtype.is_float() and not missing:
        missing = int(np.isnan(y.to_numpy()).sum())
    if missing:
        raise TableError(
            f"the target {column!r} is missing in {missing} of {len(y)} rows: fill them in or remove the rows"
        )
    return native.drop(column).to_native(), y.to_native()


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
