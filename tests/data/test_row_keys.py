"""Rows by content, against pandas and by property."""

from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from metamix.data.row_keys import content_order, count_once, distinct_rows, effective_weights, row_keys, table_key

TABLES = {
    "numbers": lambda rng, n: rng.integers(3, size=(n, 2)).astype(float),
    "sparse": lambda rng, n: sparse.csr_array(rng.integers(3, size=(n, 2)).astype(float)),
    "frame": lambda rng, n: pd.DataFrame(
        {"text": rng.choice(["a", "b", None], n), "number": rng.choice([0.0, 1.0, np.nan], n)}
    ),
}


def _plain(table):
    found = table.toarray() if sparse.issparse(table) else table
    return pd.DataFrame(found).astype(object).map(str)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("seed", range(3))
def test_equal_rows_have_equal_keys_and_others_have_others(kind, seed):
    rng = np.random.default_rng(seed)
    table, y = TABLES[kind](rng, 60), rng.integers(2, size=60)
    plain = _plain(table).assign(y=y)
    keys, expected = row_keys(table, y), plain.groupby(list(plain.columns)).ngroup()
    assert pd.crosstab(keys, expected).astype(bool).sum().max() == 1
    assert len(np.unique(keys)) == expected.nunique()


@pytest.mark.parametrize("kind", TABLES)
def test_the_order_of_the_rows_does_not_matter(kind):
    rng = np.random.default_rng(0)
    table, y = TABLES[kind](rng, 40), rng.standard_normal(40)
    shuffled = rng.permutation(40)
    moved = table.iloc[shuffled] if kind == "frame" else table[shuffled]
    np.testing.assert_array_equal(shuffled[content_order(moved, y[shuffled])], content_order(table, y))
    one, other = distinct_rows(np.ones(40), table, y), distinct_rows(np.ones(40), moved, y[shuffled])
    np.testing.assert_array_equal(shuffled[other.rows], one.rows)


def test_units_and_the_order_of_targets_do_not_change_the_order():
    rng = np.random.default_rng(0)
    X, Y = rng.integers(3, size=(50, 2)).astype(float), rng.standard_normal((50, 2))
    order = content_order(X, Y)
    np.testing.assert_array_equal(content_order(1e6 * X + 7, 1e-6 * Y[:, ::-1]), order)
    assert abs(np.corrcoef(np.arange(50), X[order, 0])[0, 1]) < 0.5, "rows are shuffled"


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_effective_weights_have_no_unit_and_two_is_twice(rows, unit):
    value, times = np.array(rows, dtype=float).T
    if not times.any():
        assert not effective_weights(times, value).any()
        return
    repeated = np.repeat(value, times.astype(int))
    merged = pd.Series(times).groupby(value).sum()
    expected = merged.sum() ** 2 / (merged**2).sum()
    assert effective_weights(times, value).sum() == pytest.approx(expected)
    assert effective_weights(unit * times, value).sum() == pytest.approx(expected)
    assert effective_weights(np.ones(len(repeated)), repeated).sum() == pytest.approx(expected)
    assert count_once(times, value).sum() == pytest.approx((merged > 0).sum())
    assert count_once(np.ones(len(repeated)), repeated).sum() == pytest.approx((merged > 0).sum())


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, sparse.csc_array])
def test_a_key_of_all_rows_is_that_of_the_keys_of_the_rows(make):
    """Of which only a part is in memory at a time."""
    X = np.round(np.random.default_rng(0).normal(size=(120_000, 2)))
    y = X[:, 0]
    assert table_key(make(X), y) == sha256(row_keys(make(X), y).tobytes()).hexdigest()


def test_a_key_in_parts_is_that_of_whole_columns_of_any_type():
    n = 50_000
    rng = np.random.default_rng(0)
    text = rng.choice(["a", "b", "c"], n).astype(object)
    text[::7] = None
    frame = pd.DataFrame({"text": text, "kind": pd.Categorical(rng.choice(["x", "y"], n)), "gaps": rng.normal(size=n)})
    frame.loc[::5, "gaps"] = np.nan
    frame["kind"] = frame["kind"].where(np.arange(n) > n // 2)  # missing in the first part
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(1000, size=n), "D")
    assert table_key(frame) == sha256(row_keys(frame).tobytes()).hexdigest()
