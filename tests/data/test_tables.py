"""Targets and the recognition of the task."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from metamix.data.tables import (
    TableError,
    check_classes,
    column_names,
    leave_out_rows,
    recognise_task,
    split_target,
)


@pytest.mark.parametrize("to", [pd.DataFrame, pl.DataFrame])
def test_the_target_is_split_off(to):
    frame = to({"size": [1.0, 2.0], "price": [3.0, 4.0], "gap": [1.0, None], "nan": [np.nan, 1.0]})
    X, y = split_target(frame, "price")
    assert isinstance(X, to)
    assert column_names(X) == ["size", "gap", "nan"]
    assert list(y) == [3.0, 4.0]
    with pytest.raises(TableError, match=r"did you mean 'price'.*the columns are size, price"):
        split_target(frame, "prise")
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


def test_the_task_of_other_types_and_invalid_targets():
    assert recognise_task(pd.Categorical([1.5, 2.5]).codes.reshape(-1, 1)) == "classification"
    assert recognise_task(pd.Series([1, 2, 3], dtype="category")) == "classification"
    assert recognise_task(pd.Series([1, None, 2, 1], dtype="Int64")) == "classification"
    with pytest.raises(TableError, match="of dates"):
        recognise_task(pd.to_datetime(pd.Series(["2024-01-01"])))
    with pytest.raises(TableError, match="without values"):
        recognise_task([])
    with pytest.raises(TableError, match="not one column"):
        recognise_task(np.zeros((3, 2)))


def test_rows_without_a_target_are_left_out_and_counted():
    X, y, left_out = leave_out_rows(pd.DataFrame({"a": [1, 2, 3]}), pd.Series(["x", None, "y"], name="t"))
    assert (X["a"].tolist(), y.tolist(), left_out) == ([1, 3], ["x", "y"], 1)
    with pytest.raises(TableError, match="'t' is missing in every row"):
        leave_out_rows(X, pd.Series([None, None], name="t"))


def test_odd_classes_are_said_or_refused():
    with pytest.raises(TableError, match=r"422 classes in 800 rows.*--types price=number"):
        check_classes(pd.Series([f"c{i % 422}" for i in range(800)]), "price")
    assert check_classes(pd.Series(["a", "b"] * 10), "t") == []
    assert "96.0 % of the rows are 'a'" in check_classes(pd.Series(["a"] * 96 + ["b"] * 4), "t")[0]
    assert "classes 'c', 'd' have one row" in check_classes(pd.Series(["a", "b"] * 9 + ["c", "d"]), "t")[0]
    with pytest.raises(TableError, match="in every row"):
        check_classes(pd.Series(["a"] * 9), "t")
