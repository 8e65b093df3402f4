"""Rows and columns of tables of every type, against plain arrays."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from metamix import MixtureRegressor, describe
from metamix.data.frames import TableError, column_names, find_columns, is_frame, n_rows, take_rows

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
@settings(max_examples=10)
@given(case=values_and_rows())
def test_rows_of_every_type_equal_those_of_the_array(kind, case):
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
def test_rows_of_a_single_column(make):
    values = [[3, 1, 2]] if make is pa.chunked_array else [3, 1, 2]
    taken = take_rows(make(values), np.array([2, 0]))
    assert (taken.to_pylist() if make is pa.chunked_array else list(taken)) == [2, 3]


def test_rows_are_in_c_order_and_pandas_keeps_its_index():
    X = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    assert take_rows(X, [1, 2]).flags.c_contiguous
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=["x", "y", "z"])
    assert list(take_rows(frame, [2, 0]).index) == ["z", "x"]


def test_invalid_rows_and_tables_are_rejected():
    with pytest.raises(IndexError):
        take_rows(np.zeros((3, 1)), [3])
    with pytest.raises(IndexError, match="mask of 2"):
        take_rows(np.zeros((3, 1)), np.array([True, False]))
    lazy = pl.LazyFrame({"a": [1.0]})
    for use in (n_rows, describe, lambda X: MixtureRegressor(["ridge"]).fit(X, [1.0])):
        with pytest.raises(TableError, match=r"LazyFrame has no rows.*collect"):
            use(lazy)
    with pytest.raises(TableError, match="rows cannot be taken from a dict"):
        take_rows({"a": [1]}, [0])


def test_frames_are_recognised_and_have_column_names():
    frame = pd.DataFrame({"a": [1], "b": [2]})
    for X in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert is_frame(X)
        assert column_names(X) == ["a", "b"]
    for X in (frame["a"], frame.to_numpy(), sparse.eye(2), [[1]], None, "a"):
        assert not is_frame(X)
        assert column_names(X) is None
    assert column_names(pd.DataFrame([[1, 2]])) is None
    assert find_columns(["c", "a", "b"], ["a", "b", "c"]) == [1, 2, 0]
