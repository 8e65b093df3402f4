"""Parquet files as one table: order, types, missing values, samples, and files that do not belong to it."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamix import scan
from metamix.data.frames import TableError


def write(folder, **frames):
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet")


def rows(table):
    return pd.concat(table.batches(), ignore_index=True)


def test_batches_are_the_rows_of_all_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path, b=pd.DataFrame({"x": [3.0], "y": [4]}), a=pd.DataFrame({"y": [2, 5], "x": [1.0, np.nan]}))
    expected = pd.DataFrame({"y": [2, 5, 4], "x": [1.0, np.nan, 3.0]})
    for given in (tmp_path, tmp_path / "*.parquet", [tmp_path / "b.parquet", str(tmp_path / "a.parquet")]):
        table = scan(given)
        assert len(table) == 3
        pd.testing.assert_frame_equal(rows(table), expected)


def test_many_rows_come_in_several_batches(tmp_path):
    write(tmp_path, a=pd.DataFrame({"x": np.arange(70_000)}))
    sizes = [len(batch) for batch in scan(tmp_path).batches()]
    assert sum(sizes) == 70_000
    assert max(sizes) == 32_768
    np.testing.assert_array_equal(rows(scan(tmp_path))["x"], np.arange(70_000))


def test_an_index_is_no_column_and_a_named_one_is(tmp_path):
    frame = pd.DataFrame({"x": [1, 2, 3]})
    write(tmp_path, a=frame[[True, False, True]])
    assert scan(tmp_path).columns == ["x"]
    write(tmp_path, a=frame.set_index(pd.Index(["u", "v", "w"], name="key")))
    assert scan(tmp_path).columns == ["x", "key"]


def test_types_that_hold_the_values_of_every_file(tmp_path):
    write(tmp_path, a=pd.DataFrame({"x": [1, 2]}), b=pd.DataFrame({"x": [0.5]}), c=pd.DataFrame({"x": [None]}))
    assert rows(scan(tmp_path))["x"].dropna().tolist() == [1.0, 2.0, 0.5]


def test_categories_of_several_files_are_those_of_one_column(tmp_path):
    kinds = [pd.Categorical(["u", "v"]), pd.Categorical(["w", "u"])]
    write(tmp_path, a=pd.DataFrame({"k": kinds[0]}), b=pd.DataFrame({"k": kinds[1]}))
    found = scan(tmp_path).sample(10)["k"]
    assert isinstance(found.dtype, pd.CategoricalDtype)
    assert found.tolist() == ["u", "v", "w", "u"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"x": [1.0]}, "lacks 'y'"),
        ({"x": [1.0], "y": [1], "z": [1]}, "has 'z' besides"),
        ({"x": ["one"], "y": [1]}, "another type in the column 'x'"),
    ],
)
def test_a_file_of_another_table_is_named(tmp_path, other, said):
    write(tmp_path, a=pd.DataFrame({"x": [1.0], "y": [1]}), b=pd.DataFrame(other))
    with pytest.raises(TableError, match=r"b\.parquet has") as raised:
        scan(tmp_path)
    assert said in str(raised.value)


def test_what_is_no_parquet_file_is_refused(tmp_path):
    with pytest.raises(TableError, match="does not exist"):
        scan(tmp_path / "none.parquet")
    with pytest.raises(TableError, match="has no file that ends in"):
        scan(tmp_path)
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match=r"text.parquet cannot be read as Parquet"):
        scan(tmp_path)
    with pytest.raises(TableError, match=r"a DataFrame is no Parquet file: .* or a frame of dask"):
        scan(pd.DataFrame({"x": [1]}))
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "text.parquet")
    with pytest.raises(TableError, match="has no rows"):
        scan(tmp_path)


def test_columns_that_are_left_out_or_not_there(tmp_path):
    write(tmp_path, a=pd.DataFrame({"size": [1], "price": [2]}))
    table = scan(tmp_path)
    assert table.without(["size"]).columns == ["price"]
    assert table.columns == ["size", "price"]
    with pytest.raises(TableError, match="did you mean 'price'"):
        table.without(["prise"])


def test_a_sample_is_drawn_from_all_rows_alike(tmp_path):
    write(tmp_path, a=pd.DataFrame({"x": np.arange(40_000)}))
    found = scan(tmp_path).sample(4_000, seed=1)["x"].to_numpy()
    assert abs(len(found) - 4_000) < 5 * np.sqrt(3_600)
    assert abs(found.mean() - 20_000) < 5 * 40_000 / np.sqrt(12 * 4_000)
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, scan(tmp_path).sample(4_000, seed=1)["x"])


@pytest.mark.parametrize("statistics", [True, False])
def test_batches_with_and_without_nulls_have_the_same_types(tmp_path, statistics):
    whole = pd.DataFrame({"count": [1, 2], "flag": [True, False], "other": [3, 4]})
    gaps = whole.astype({"count": "Int64", "flag": "boolean"}).assign(count=pd.array([1, None], dtype="Int64"))
    gaps["flag"] = pd.array([None, True], dtype="boolean")
    whole.to_parquet(tmp_path / "0.parquet", write_statistics=statistics)
    gaps.to_parquet(tmp_path / "1.parquet", write_statistics=statistics)
    table = scan(tmp_path)
    kinds = [[str(kind) for kind in batch.dtypes] for batch in table.batches()]
    assert kinds == [["float64", "object", "int64"]] * 2
    assert [str(kind) for kind in table.sample(3, columns=["count", "flag"]).dtypes] == ["float64", "object"]
    assert [str(table.type_of(name)) for name in table.columns] == ["int64", "bool", "int64"]


# Frames of dask


@pytest.fixture
def dask_frame():
    """A function that makes a frame of dask with three partitions."""
    dd = pytest.importorskip("dask.dataframe", reason='dask.dataframe is not installed: pip install "dask[dataframe]"')
    return lambda frame: dd.from_pandas(frame, npartitions=3, sort=False)


def test_partitions_are_computed_once_and_read_as_the_frame(dask_frame):
    frame = pd.DataFrame({
        "size": np.arange(90.0), "kind": pd.Categorical(list("abc") * 30), "word": list("xyz") * 30,
        "day": pd.date_range("2020", periods=90), "rooms": pd.array([1, None, 3] * 30, dtype="Int64"),
    })  # fmt: skip
    table = scan(dask_frame(frame), memory="1GB")
    assert len(table) == 90
    assert table.columns == list(frame.columns)
    found = table.sample(1000)
    pd.testing.assert_frame_equal(found, frame.astype({"rooms": float}), check_dtype=False, check_categorical=False)
    folder = table.paths[0].parent
    assert len(table.paths) == 3
    del table
    assert not folder.exists()


def test_partitions_without_rows_are_left_out_and_those_too_large_are_refused(dask_frame):
    frame = pd.DataFrame({"size": np.arange(90.0), "word": ["x"] * 90})
    some = dask_frame(frame)
    assert len(scan(some[some["size"] >= 60], memory="1GB").paths) == 1
    with pytest.raises(TableError, match="no rows"):
        scan(some[some["size"] < 0], memory="1GB")
    with pytest.raises(TableError, match=r"partition 0 takes .* repartition\(partition_size='"):
        scan(dask_frame(pd.DataFrame({"size": np.arange(300_000.0)})), memory="100kB")
