"""Every part of metamix and of the CatBoost plugin is saved and loaded, with the same predictions to the last bit.

Those of other plugins are by `saved_and_loaded` of `metamix.testing`, in the tests of each.
"""

import importlib.util
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import TimeSeriesSplit

from metamix import MixtureClassifier, MixtureRegressor, registry
from metamix.persistence import load, save, untrusted_types

ROWS = 90
PARTS = [
    (row.kind, row.name, row.value)
    for row in registry.describe()
    if row.distribution in ("metamix", "metamix-catboost")
]


def need(value):
    """Skip a part whose library is not installed."""
    for name, library in {"xgboost": "xgboost", "lightgbm": "lightgbm", "nn": "torch", "catboost": "catboost"}.items():
        if name in value and importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, 2)), columns=["a", "b"])
    X["kind"] = rng.choice(["x", "y", "z"], ROWS)
    X["when"] = pd.date_range("2020-01-01", periods=ROWS)
    X.loc[3, "a"] = np.nan
    return X, X["b"].to_numpy() + (X["kind"] == "x") + rng.normal(scale=0.3, size=ROWS)


def same_again(mixture, X, path):
    save(mixture, path)
    types = untrusted_types(path)
    assert {name.partition(".")[0] for name in types} <= {"xgboost", "lightgbm", "catboost", "metamix_catboost"}
    again = load(path, trusted=types)
    np.testing.assert_array_equal(again.predict(X), mixture.predict(X))
    np.testing.assert_array_equal(again.gate_weights(X), mixture.gate_weights(X))
    np.testing.assert_array_equal(again.predict_experts(X), mixture.predict_experts(X))
    return again


@pytest.mark.parametrize(("kind", "name", "value"), PARTS, ids=[f"{p[0]}-{p[1]}" for p in PARTS])
def test_every_part_predicts_the_same_once_loaded(tmp_path, table, kind, name, value):
    need(value)
    X, y = table
    common = {"specialize": True, "cv": None, "max_rounds": 2, "random_state": 0, "start": np.arange(ROWS) % 2}
    experts = ["ridge", "ridge"]
    if kind in ("regressors", "classifiers"):
        common, experts = {"specialize": False, "cv": 2, "random_state": 0, "on_error": "raise"}, [name]
    elif kind == "gates":
        common["gate"] = name
        common |= {"cv": TimeSeriesSplit(2) if name == "online" else 2}
    elif name != "categorical":
        common["likelihood"] = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that stop early on a small table
        if kind == "classifiers" or name == "categorical":
            experts = experts if kind == "classifiers" else ["logistic", "logistic"]
            mixture = MixtureClassifier(experts, **common).fit(X, np.where(y > 0.3, "high", "low"))
        else:
            y = np.abs(y).round() if name == "poisson" else y
            mixture = MixtureRegressor(experts, **common).fit(X, y)
        again = same_again(mixture, X, tmp_path / "a.mix")
    if hasattr(mixture, "predict_proba"):
        np.testing.assert_array_equal(again.predict_proba(X), mixture.predict_proba(X))
    else:
        np.testing.assert_array_equal(again.log_prob(X, y), mixture.log_prob(X, y))
