"""Rows, files and targets, against pandas and plain numpy."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from metamix.data.cells import column_kind
from metamix.data.frames import find_columns
from metamix.data.tables import (
    TableError,
    column_names,
    describe,
    is_frame,
    n_rows,
    read_table,
    recognise_task,
    split_target,
    take_rows,
)

KINDS = {
    "C order": (np.ascontiguousarray, np.asarray),
    "Fortran order": (np.asfortranarray, np.asarray),
    "csr": (sparse.csr_matrix, lambda X: X.toarray()),
    "csc array": (sparse.csc_array, lambda X: X.toarray()),
    "coo": (sparse.coo_matrix, lambda X: X.toarray()),
    "pandas": (lambda X: pd.DataFrame(X, index=np.arange(len(X))[::-1]), lambda X: X.to_numpy()),
    "polars": (lambda X: pl.DataFrame(X), lambda X: X.to_numpy()),
    "pyarrow": (lambda X: pa.table({"a": X[:, 0], "b": X[:, 1]}), lambda X: X.to_pandas().to_numpy()),
    "list": (lambda X: X.tolist(), lambda X: np.array(X).reshape(-1, 2)),
}


@st.composite
def values_and_rows(draw):
    n = draw(st.integers(1, 12))
    values = draw(st.lists(st.integers(-3, 3), min_size=2 * n, max_size=2 * n))
    rows = draw(st.lists(st.integers(0, n - 1), max_size=15))
    return np.array(values, dtype=float).reshape(n, 2), np.array(rows, dtype=np.intp)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(case=values_and_rows())
def test_rows_of_every_kind_are_those_of_the_array(kind, case):
    values, rows = case
    to, back = KINDS[kind]
    X = to(values)
    taken = take_rows(X, rows)
    assert type(taken) is type(X)
    assert n_rows(X) == len(values)
    assert n_rows(taken) == len(rows)
    np.testing.assert_array_equal(back(taken), values[rows])
    mask = np.zeros(len(values), dtype=bool)
    mask[rows] = True
    np.testing.assert_array_equal(back(take_rows(X, mask)), values[mask])


@pytest.mark.parametrize("make", [np.array, pd.Series, pl.Series, list, pa.chunked_array])
def test_rows_of_one_column(make):
    values = [[3, 1, 2]] if make is pa.chunked_array else [3, 1, 2]
    taken = take_rows(make(values), np.array([2, 0]))
    assert (taken.to_pylist() if make is pa.chunked_array else list(taken)) == [2, 3]


def test_rows_are_c_ordered_and_pandas_keeps_its_labels():
    X = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    assert take_rows(X, [1, 2]).flags.c_contiguous
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=["x", "y", "z"])
    assert list(take_rows(frame, [2, 0]).index) == ["z", "x"]


def test_rows_outside_or_of_nothing_are_refused():
    with pytest.raises(IndexError):
        take_rows(np.zeros((3, 1)), [3])
    with pytest.raises(IndexError, match="mask of 2"):
        take_rows(np.zeros((3, 1)), np.array([True, False]))
    with pytest.raises(TableError, match="collect"):
        n_rows(pl.LazyFrame({"a": [1]}))
    with pytest.raises(TableError, match="rows cannot be taken from a dict"):
        take_rows({"a": [1]}, [0])


def test_frames_and_names():
    frame = pd.DataFrame({"a": [1], "b": [2]})
    for X in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert is_frame(X)
        assert column_names(X) == ["a", "b"]
    for X in (frame["a"], frame.to_numpy(), sparse.eye(2), [[1]], None, "a"):
        assert not is_frame(X)
        assert column_names(X) is None
    assert column_names(pd.DataFrame([[1, 2]])) is None
    assert find_columns(["c", "a", "b"], ["a", "b", "c"]) == [1, 2, 0]


KINDS_OF = {
    "number": [1.5, None],
    "boolean": [True, False],
    "text": ["a", None],
    "date": [pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-02")],
    "duration": [pd.Timedelta(1, "h"), pd.Timedelta(2, "h")],
    "empty": [None, None],
}


@pytest.mark.parametrize("kind", KINDS_OF)
def test_kinds_agree_between_libraries(kind):
    values = KINDS_OF[kind]
    frame = pd.DataFrame({"a": values})
    assert column_kind(frame["a"]) == kind
    assert describe(pl.DataFrame({"a": values}))["kind"].tolist() == [kind]
    if kind != "duration":
        assert column_kind(np.array(values, dtype=object)) == kind
    assert describe(frame)["missing"].tolist() == [frame["a"].isna().sum()]


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "size": [1.5, np.nan, 3.0],
            "count": [1, 2, 3],
            "city": ["Rome", "Oslo", None],
            "code": ["2024-1", "7", "x"],
            "sold": pd.to_datetime(["2024-02-29", None, "2023-12-31"]),
            "seen": pd.to_datetime(["2024-02-29 10:30", "2024-01-01 00:00", "2023-12-31 23:59"]),
            "open": [True, False, True],
        }
    )


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("A.CSV.GZ", ",")],
)
def test_text_files_come_back(tmp_path, table, name, separator):
    path = tmp_path / name
    table.to_csv(path, sep=separator, index=False, compression="gzip" if name.endswith("GZ") else None)
    read = read_table(path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert [column_kind(read[c]) for c in read] == [column_kind(table[c]) for c in table]


def test_parquet_comes_back(tmp_path, table):
    table["city"] = table["city"].astype("category")
    table.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), table)


def test_what_text_files_may_hold(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        '\ufeffa;b;c;d\n1,5;yes;True;"2024-03-31T01:00:00+01:00"\n-2;no;;2024-04-01T01:00:00+02:00\n', "utf-8"
    )
    read = read_table(path)
    assert read["a"].tolist() == [1.5, -2.0]
    assert [column_kind(read[c]) for c in "abcd"] == ["number", "text", "boolean", "date"]
    assert read["d"].dt.tz_convert("UTC").dt.hour.tolist() == [0, 23]
    path.write_text("id,day\n1,2024-02-30\n2,2024-02-28\n")  # there is no such day: text stays text
    assert column_kind(read_table(path)["day"]) == "text"


BAD = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n", "blank lines only"),
    "header.csv": (b"a,b\n", "header but no rows"),
    "twice.csv": (b"a,b,a\n1,2,3\n", "more than one column named a"),
    "ragged.csv": (b"a,b\n1,2\n1,2,3,4\n", "not a table"),
    "wide.csv": (b"a,b\n1,2,3\n4,5,6\n", "more fields than its header"),
    "latin.csv": ("stra\xdfe,b\n1,2\n".encode("latin-1"), "UTF-8"),
    "binary.csv": (bytes(range(9)) * 9, "not a table"),
    "a.parquet": (b"a,b\n1,2\n", "not a Parquet file"),
    "a.csv.gz": (b"a,b\n1,2\n", "not a table"),
    "cut.csv.gz": (gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 50)[:-12], "not a table"),
    "a.xlsx": (b"PK", r"unknown kind: a file that ends in \.csv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_clear_line(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_absent_files_and_folders(tmp_path):
    (tmp_path / "houses.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match=r"did you mean .*houses\.csv"):
        read_table(tmp_path / "house.csv")
    with pytest.raises(TableError, match="there is no folder"):
        read_table(tmp_path / "nowhere" / "house.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_table(str(tmp_path))


@pytest.mark.parametrize("to", [pd.DataFrame, pl.DataFrame])
def test_the_target_is_split_off(to):
    frame = to({"size": [1.0, 2.0], "price": [3.0, 4.0], "gap": [1.0, None], "nan": [np.nan, 1.0]})
    X, y = split_target(frame, "price")
    assert isinstance(X, to)
    assert column_names(X) == ["size", "gap", "nan"]
    assert list(y) == [3.0, 4.0]
    with pytest.raises(TableError, match=r"did you mean 'price'.*the columns are size, price"):
        split_target(frame, "prise")
    for name in ("gap", "nan"):
        with pytest.raises(TableError, match="missing in 1 of 2 rows"):
            split_target(frame, name)
    with pytest.raises(TableError, match="no column but the target"):
        split_target(to({"a": [1]}), "a")


TASKS = [
    (["a", "b", "a"], "classification"),
    ([True, False], "classification"),
    ([0, 1, 1, 0], "classification"),
    ([0.0, 1.0, np.nan, 1.0], "classification"),
    ([1, 2, 3] * 5, "classification"),
    (list(range(10)) * 10, "classification"),
    (list(range(11)) * 10, "regression"),
    ([1, 2, 3, 3, 3], "regression"),
    ([3] * 500 + [4] * 500 + [5] * 500 + [6] * 500 + [7] * 500 + [8] * 5, "regression"),
    ([7, 7, 7], "regression"),
    ([0.5, 1.0, 0.5], "regression"),
    ([0.0, np.inf], "regression"),
]


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pl.Series])
@pytest.mark.parametrize(("y", "task"), TASKS)
def test_the_task_is_recognised(make, y, task):
    assert recognise_task(make(y)) == task
    assert recognise_task(np.array(y, dtype=object)) == task


def test_no_task_for_dates_and_nothing():
    assert recognise_task(pd.Categorical([1.5, 2.5]).codes.reshape(-1, 1)) == "classification"
    assert recognise_task(pd.Series([1, 2, 3], dtype="category")) == "classification"
    assert recognise_task(pd.Series([1, None, 2, 1], dtype="Int64")) == "classification"
    with pytest.raises(TableError, match="of dates"):
        recognise_task(pd.to_datetime(pd.Series(["2024-01-01"])))
    with pytest.raises(TableError, match="without values"):
        recognise_task([])
    with pytest.raises(TableError, match="not one column"):
        recognise_task(np.zeros((3, 2)))
