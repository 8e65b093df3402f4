"""The column encoder against scikit-learn's transformers, and across libraries and units."""

import cProfile
import pickle
import pstats

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from metamix.data.columns import ColumnEncoder


def mixed(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.2, np.nan, rng.normal(50, 9, n)),
            "rooms": rng.integers(1, 6, n),
            "city": pd.Series(rng.choice(["Oslo", "Porto", "Rome"], n, p=[0.2, 0.3, 0.5])),
            "state": pd.Categorical(rng.choice(["poor", "fair", "good"], n)),
            "garden": rng.random(n) < 0.4,
            "sold": pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s"),
        }
    )


@pytest.mark.parametrize(
    "parameters",
    [{}, {"scale": False}, {"categories": "ordinal", "missing": "keep"}],
    ids=["default", "unscaled", "for trees"],
)
def test_scikit_learn_estimator_checks(parameters):
    results = check_estimator(ColumnEncoder(**parameters), on_skip=None)
    assert len(results) > 40
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}


@pytest.mark.parametrize("categories", ["onehot", "ordinal"])
@pytest.mark.parametrize("scale", [True, False])
def test_equals_a_column_transformer_of_scikit_learn(categories, scale):
    frame, new = mixed(), mixed(80, seed=1)
    coder = (
        OneHotEncoder(sparse_output=False)
        if categories == "onehot"
        else OrdinalEncoder(categories=[["Oslo", "Porto", "Rome"], ["fair", "good", "poor"]])
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler() if scale else "passthrough")
    reference = make_column_transformer(
        (numbers, ["size", "rooms"]), (coder, ["city", "state"]), ("passthrough", ["garden"])
    ).fit(frame)
    encoder = ColumnEncoder(categories=categories, scale=scale, missing_indicator=False).fit(frame.drop(columns="sold"))
    for X in (frame, new):
        np.testing.assert_allclose(encoder.transform(X.drop(columns="sold")), reference.transform(X), atol=1e-12)


def test_missing_indicators_equal_those_of_scikit_learn():
    X = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 4.0], [5.0, 6.0, 8.0], [2.0, 7.0, 9.0]])
    reference = SimpleImputer(strategy="median", add_indicator=True).fit(X)
    new = np.array([[np.nan, 1.0, np.nan]])
    encoder = ColumnEncoder(scale=False).fit(X)
    np.testing.assert_array_equal(encoder.transform(X), reference.transform(X))
    np.testing.assert_array_equal(encoder.transform(new), reference.transform(new))
    assert list(encoder.get_feature_names_out()) == ["x0", "x1", "x2", "x0 (missing)", "x1 (missing)"]


@pytest.mark.parametrize("missing", ["impute", "keep"])
@pytest.mark.parametrize("categories", ["onehot", "ordinal"])
def test_pandas_polars_and_object_arrays_agree(missing, categories):
    frame, new = mixed(), mixed(50, seed=1)
    for X in (frame, new):
        X["city"] = X["city"].mask(X["size"] > 60)
        X["sold"] = X["sold"].mask(X["rooms"] == 1)
    new.loc[3, "city"] = "Lima"
    kinds = {
        "pandas": lambda X: X,
        "polars": pl.from_pandas,
        "objects": lambda X: X.astype(object).to_numpy(),
        "nullable": lambda X: X.convert_dtypes(),
    }
    out = {}
    for kind, to in kinds.items():
        encoder = ColumnEncoder(missing=missing, categories=categories)
        fitted = encoder.fit_transform(to(frame))
        out[kind] = np.vstack([fitted, encoder.transform(to(new))])
        np.testing.assert_array_equal(fitted, encoder.transform(to(frame)))
        assert out[kind].flags.c_contiguous
        assert out[kind].dtype == np.float64
        assert out[kind].shape[1] == len(encoder.get_feature_names_out())
    for kind in kinds:
        np.testing.assert_allclose(out[kind], out["pandas"], rtol=1e-12, atol=1e-12, err_msg=kind)
    assert np.isnan(out["pandas"]).any() == (missing == "keep")


def test_numeric_arrays_and_frames_agree():
    X = np.random.default_rng(0).normal(size=(30, 3))
    X[::4, 1] = np.nan
    expected = ColumnEncoder().fit_transform(X)
    for other in (pd.DataFrame(X), pl.DataFrame(X), X.tolist(), np.asfortranarray(X), X.astype(object)):
        np.testing.assert_allclose(ColumnEncoder().fit_transform(other), expected, atol=1e-14)


def test_parts_of_dates_equal_those_of_pandas():
    when = pd.Series(pd.date_range("1969-12-30 22:00", periods=400, freq="317h", tz="Europe/Rome"))
    frame = pd.DataFrame({"when": when.mask(when.index == 7), "day": when.dt.tz_localize(None).dt.normalize()})
    encoder = ColumnEncoder(scale=False, missing="keep").fit(frame)
    names = [
        *(f"when{p}" for p in ("", " (month)", " (weekday)", " (hour)")),
        "day",
        "day (month)",
        "day (weekday)",
    ]
    assert list(encoder.get_feature_names_out()) == names
    out = pd.DataFrame(encoder.transform(frame), columns=names)
    instant = frame["when"].dt.tz_convert("UTC").dt.tz_localize(None)
    pd.testing.assert_series_equal(out["when"], (instant - pd.Timestamp(0)).dt.total_seconds(), check_names=False)
    for part, expected in {
        "month": instant.dt.month,
        "weekday": instant.dt.day_of_week,
        "hour": instant.dt.hour,
    }.items():
        expected = expected.astype(float)
        pd.testing.assert_series_equal(out[f"when ({part})"], expected, check_names=False)


def test_rare_values_are_merged_as_in_scikit_learn():
    city = pd.DataFrame({"city": list("aaaabbbccddef")})
    reference = OneHotEncoder(max_categories=4, sparse_output=False, handle_unknown="infrequent_if_exist")
    new = pd.DataFrame({"city": ["a", "d", "e", "never seen"]})
    expected = reference.fit(city).transform(new)
    encoder = ColumnEncoder(max_categories=4).fit(city)
    # scikit-learn breaks the tie of c and d the other way round at the edge; here both are kept
    assert list(encoder.get_feature_names_out()) == ["city=a", "city=b", "city=c", "city (other)"]
    np.testing.assert_array_equal(encoder.transform(new)[[0, 2, 3]], expected[[0, 2, 3]])
    ranks = ColumnEncoder(max_categories=4, categories="ordinal").fit(city).transform(new)
    assert ranks.ravel().tolist() == [0, 3, 3, 3]


def test_identifiers_and_unseen_and_missing_values():
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(100)], "city": ["Rome", None] * 50})
    encoder = ColumnEncoder().fit(frame)
    assert list(encoder.get_feature_names_out()) == ["id (other)", "city=Rome", "city (missing)"]
    new = pd.DataFrame({"id": ["new", None], "city": ["Oslo", None]})
    assert encoder.transform(new).tolist() == [[1, 0, 0], [0, 0, 1]]
    ranks = ColumnEncoder(categories="ordinal").fit(frame)
    assert ranks.transform(new).tolist() == [[0, -1], [-1, 1]]
    kept = ColumnEncoder(categories="ordinal", missing="keep").fit(frame).transform(new)
    np.testing.assert_array_equal(kept, [[0, -1], [np.nan, np.nan]])


def test_ranks_follow_the_order_of_the_categorical_type():
    levels = ["poor", "fair", "good"]
    values = ["good", "poor", "fair"]
    ordered = pd.DataFrame({"state": pd.Categorical(values, levels, ordered=True)})
    enum = pl.DataFrame({"state": pl.Series(values, dtype=pl.Enum(levels))})
    for X in (ordered, enum):
        assert ColumnEncoder(categories="ordinal").fit_transform(X).ravel().tolist() == [2, 0, 1]
    size = pd.DataFrame({"size": ["10", "9", "100"]})
    assert ColumnEncoder(categories="ordinal").fit_transform(size).ravel().tolist() == [1, 0, 2]


@settings(max_examples=30)
@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30),
    power=st.sampled_from([1e-6, 1e6, 1e-100, 1e100]),
)
def test_the_unit_of_a_column_does_not_matter(values, power):
    X = np.array(values)[:, None]
    a, b = ColumnEncoder().fit_transform(X), ColumnEncoder().fit_transform(X * power)
    assert np.isfinite(a).all()
    assert np.isclose(a.std(), 1) or not a.any()
    noise = 1e-14 * np.abs(X).max() / max(np.ptp(X), 1e-300)  # an offset far above the spread costs digits
    np.testing.assert_allclose(a, b, atol=1e-9 + 100 * noise)


def test_constant_and_empty_columns_are_zero():
    frame = pd.DataFrame({"c": [0.1 + 0.2, 0.3, 0.3], "none": [None] * 3, "nan": [np.nan] * 3, "t": ["a"] * 3})
    encoder = ColumnEncoder().fit(frame)
    new = pd.DataFrame({"c": [1e9], "none": ["text"], "nan": [1e9], "t": ["b"]})
    assert encoder.transform(new).tolist() == [[0, 0, 0, 0]]
    assert encoder.transform(frame).tolist() == [[0, 0, 0, 1]] * 3
    X = np.array([[1.0, np.nan], [2.0, np.nan]])
    np.testing.assert_allclose(ColumnEncoder().fit(X).transform([[1.5, 7.0]]), [[0, 0]])


def test_sparse_stays_sparse():
    X = sparse.random_array((50, 4), density=0.3, rng=0, format="csc")
    encoder = ColumnEncoder().fit(X)
    out = encoder.transform(X)
    assert out.format == "csr"
    np.testing.assert_allclose(out.toarray(), StandardScaler(with_mean=False).fit_transform(X.toarray()))
    np.testing.assert_allclose(encoder.transform(X.toarray()), out.toarray())
    assert ColumnEncoder(scale=False).fit_transform(X.tocsr()).nnz == X.nnz


def test_input_is_not_copied_without_need_and_never_modified():
    X = np.random.default_rng(0).normal(size=(20, 3))
    assert ColumnEncoder(scale=False).fit(X).transform(X) is X
    X[0, 0] = np.nan
    X.setflags(write=False)
    ColumnEncoder().fit_transform(X)
    sparse_X = sparse.csr_array(np.eye(3) * [2.0, 3.0, np.nan])
    before = sparse_X.data.copy()
    ColumnEncoder().fit_transform(sparse_X)
    np.testing.assert_array_equal(sparse_X.data, before)
    frame = mixed()
    copy = frame.copy()
    ColumnEncoder().fit_transform(frame)
    pd.testing.assert_frame_equal(frame, copy)
    number = pd.DataFrame({"a": np.arange(5.0)})
    ColumnEncoder().fit_transform(number)
    assert number["a"].tolist() == [0, 1, 2, 3, 4]


def test_columns_are_found_by_name():
    frame = mixed()
    encoder = ColumnEncoder().fit(frame)
    assert list(encoder.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(encoder.transform(frame[frame.columns[::-1]]), encoder.transform(frame))
    with pytest.raises(ValueError, match=r"lacks the column.*'city'.*now 'City'"):
        encoder.transform(frame.rename(columns={"city": "City"}))
    with pytest.raises(ValueError, match="leave out 'price'"):
        encoder.transform(frame.assign(price=1))
    with pytest.raises(ValueError, match="X has 2 features, but ColumnEncoder is expecting 3"):
        ColumnEncoder().fit(np.eye(3)).transform(pd.DataFrame(np.eye(2)))


def test_invalid_input_is_named():
    frame = mixed()
    encoder = ColumnEncoder().fit(frame)
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="'size' contains infinity"):
            encoder.transform(frame.assign(size=value))
    with pytest.raises(ValueError, match="column 1 contains infinity"):
        ColumnEncoder().fit([[1.0, np.inf], [2.0, 3.0]])
    with pytest.raises(ValueError, match="infinity"):
        ColumnEncoder().fit(sparse.csr_array([[1.0, np.inf]]))
    with pytest.raises(ValueError, match="'rooms' should hold numbers, as in training, but holds text"):
        encoder.transform(frame.assign(rooms="many"))
    with pytest.raises(ValueError, match="'sold' should hold dates, as in training, but holds text"):
        encoder.transform(frame.assign(sold="yesterday"))
    with pytest.raises(ValueError, match="more than one column named 'a'"):
        ColumnEncoder().fit(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ValueError, match="0 sample"):
        ColumnEncoder().fit(frame[:0])
    for wrong in ({"categories": "hash"}, {"missing": "drop"}, {"max_categories": 0}):
        with pytest.raises(ValueError, match="would do"):
            ColumnEncoder(**wrong).fit(frame)
    with pytest.raises(NotFittedError):
        ColumnEncoder().transform(frame)


def test_pickles_clones_and_set_output():
    frame = mixed()
    encoder = ColumnEncoder().fit(frame)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(frame), encoder.transform(frame))
    assert not hasattr(clone(encoder), "kinds_")
    named = clone(encoder).set_output(transform="pandas").fit_transform(frame)
    assert list(named.columns) == list(encoder.get_feature_names_out())
    assert encoder.transform(frame[:0]).shape == (0, named.shape[1])
    refitted = encoder.fit(np.eye(3))
    assert not hasattr(refitted, "feature_names_in_")


def test_the_number_of_python_calls_does_not_grow_with_the_rows():
    def calls(X):
        encoder = ColumnEncoder().fit(X)
        with cProfile.Profile() as profile:
            encoder.transform(X)
        return pstats.Stats(profile).total_calls

    for library in (lambda frame: frame, pl.from_pandas):
        few, many = (calls(library(mixed(n))) for n in (100, 2000))
        assert many < few + 200  # a loop over cells makes at least 2000 more
