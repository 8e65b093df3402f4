"""Files, targets and the recognition of the task."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest

from metamix.data.cells import column_kind
from metamix.data.tables import TableError, column_names, read_table, recognise_task, split_target


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
def test_text_files_are_read_as_they_were_written(tmp_path, table, name, separator):
    path = tmp_path / name
    table.to_csv(path, sep=separator, index=False, compression="gzip" if name.endswith("GZ") else None)
    read = read_table(path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert [column_kind(read[c]) for c in read] == [column_kind(table[c]) for c in table]


def test_parquet_files_are_read_as_they_were_written(tmp_path, table):
    table["city"] = table["city"].astype("category")
    table.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), table)


def test_decimal_commas_booleans_and_dates_in_text_files(tmp_path):
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
def test_invalid_files_give_an_error_of_one_line(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
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
