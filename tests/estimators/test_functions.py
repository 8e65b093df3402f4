"""A function in place of X: the same fit as with the rows that it returns, or an error that says what would do."""

import functools
import threading

import numpy as np
import pandas as pd
import pytest

from metamix import MixtureClassifier, MixtureRegressor, compare, make_regimes, use_engine
from metamix.data.cleaning import TableWarning
from metamix.fitting.checkpoint import CheckpointError

X, y = make_regimes(80, random_state=0)


def given(table):
    return table


def mixture(kind=MixtureRegressor, **parameters):
    expert = "linear" if kind is MixtureRegressor else "logistic"
    return kind([expert], specialize=False, gate="constant", cv=2, random_state=0, **parameters)


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        (MixtureRegressor, "serial"), (MixtureRegressor, "threads"), (MixtureRegressor, "local"),
        (MixtureClassifier, "serial"),
    ],
)  # fmt: skip
def test_a_fit_calls_the_function_once_in_this_process_and_has_the_same_bits(kind, engine):
    calls, lock = [], threading.Lock()  # what cannot be pickled does not matter here
    target = y if kind is MixtureRegressor else y > np.median(y)

    def function():
        with lock:
            calls.append(1)
        return pd.DataFrame({"a": X[:, 0], "b": [f"{value:.3f}".replace(".", ",") for value in X[:, 1]]})

    with pytest.warns(TableWarning, match="b"):
        expected = mixture(kind).fit(function(), target)
    with pytest.warns(TableWarning, match="b"), use_engine(engine):
        found = mixture(kind).fit(function, target)
    assert len(calls) == 2
    np.testing.assert_array_equal(found.predict(function()), expected.predict(function()))


def test_a_checkpoint_of_the_rows_is_one_of_the_function_that_returns_them(tmp_path):
    expected = mixture(checkpoint=tmp_path).fit(X, y)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = mixture(checkpoint=tmp_path).fit(functools.partial(given, X), y)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    with pytest.raises(CheckpointError, match=r"X .*of other content"):
        mixture(checkpoint=tmp_path).fit(lambda: X + 1, y)


@pytest.mark.parametrize("call", [lambda X: mixture().fit(X, y), lambda X: compare(X, y, ["ridge"])])
@pytest.mark.parametrize(
    ("function", "error", "told"),
    [
        (given, TypeError, r"given at .* without arguments \(missing a required argument: 'table'\); bind them, as in"),
        (lambda: None, TypeError, "returned a NoneType; an array, a sparse matrix or a data frame would do"),
        (lambda: given, TypeError, "returned a function; an array"),
        (lambda: "rows.parquet", TypeError, "returned a str; an array"),
        (lambda: X[:-1], ValueError, r"inconsistent numbers of samples: \[79, 80\]"),
        (functools.partial(np.load, "nowhere.npy"), FileNotFoundError, "nowhere.npy"),
    ],
)
def test_what_a_function_cannot_be_is_said(call, function, error, told):
    with pytest.raises(error, match=told):
        call(function)


@pytest.mark.parametrize("method", ["predict", "gate_weights", "partial_fit"])
def test_other_methods_take_rows(method):
    fitted = MixtureRegressor(["ridge"], specialize=False, cv=2).fit(X, y)
    if method == "partial_fit":
        from sklearn.linear_model import SGDRegressor

        fitted = MixtureRegressor([SGDRegressor()])
    rest = (y,) if method == "partial_fit" else ()
    with pytest.raises(TypeError, match=r"which fit and compare would call; give the rows that it returns"):
        getattr(fitted, method)(functools.partial(given, X), *rest)
