"""One column of a table of any kind is named, read and replaced."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from metamix.data.features import feature_names, feature_values, find_feature, replace_feature, shuffle_feature

TABLE = {"a": [1, 2, 3], "b": [4, 5, 6]}


def tables():
    yield np.column_stack(list(TABLE.values()))
    yield sparse.csr_array(np.column_stack(list(TABLE.values())).astype(float))
    yield pd.DataFrame(TABLE)
    polars = pytest.importorskip("polars")
    yield polars.DataFrame(TABLE)


@pytest.mark.parametrize("position", range(4))
def test_a_column_is_replaced_in_a_copy(position):
    X = list(tables())[position]
    names = feature_names(X)
    assert names == (["x0", "x1"] if position < 2 else ["a", "b"])
    new = replace_feature(X, 1, np.array([0.5, 1.5, 2.5]))
    assert type(new) is type(X)
    assert np.asarray(feature_values(new, 1)).tolist() == [0.5, 1.5, 2.5]
    assert np.asarray(feature_values(new, 0)).tolist() == [1, 2, 3]
    assert np.asarray(feature_values(X, 1)).tolist() == [4, 5, 6]


@pytest.mark.parametrize("position", range(4))
def test_a_column_is_shuffled_in_a_copy(position):
    X = list(tables())[position]
    new = shuffle_feature(X, 1, np.array([2, 0, 1]))
    assert type(new) is type(X)
    assert np.asarray(feature_values(new, 1)).tolist() == [6, 4, 5]
    assert np.asarray(feature_values(new, 0)).tolist() == [1, 2, 3]
    assert np.asarray(feature_values(X, 1)).tolist() == [4, 5, 6]


def test_text_and_categories_are_shuffled_too():
    for dtype in ("str", "category"):
        X = pd.DataFrame({"a": pd.Series(["x", "y", "z"], dtype=dtype, index=[7, 8, 9])})
        new = shuffle_feature(X, 0, np.array([2, 0, 1]))
        assert new["a"].tolist() == ["z", "x", "y"]
        assert new["a"].dtype == X["a"].dtype


@pytest.mark.parametrize("asked", ["c", 2, -3, 1.0, None])
def test_a_column_that_does_not_exist_is_refused(asked):
    with pytest.raises(ValueError, match="a, b"):
        find_feature(["a", "b"], asked)
