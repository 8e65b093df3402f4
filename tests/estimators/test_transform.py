"""`transform`: a mixture as a transformer in unions and pipelines, with frames of pandas and polars in and out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes

NUMBERS = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
FAST = {"specialize": False, "gate": "constant", "cv": 2, "random_state": 0}
COLUMNS = ["ridge", "tree", "stack", "feature-weighted stack", "mean"]


@pytest.fixture(scope="module")
def table():
    X, y = make_regimes(90, 3, random_state=0)
    return pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(90)[::-1] + 7), y


def of_kind(X, kind):
    return {"numpy": X.to_numpy(), "pandas": X, "polars": pl.from_pandas(X)}[kind]


@pytest.mark.parametrize("given", ["numpy", "pandas", "polars"])
@pytest.mark.parametrize("asked", ["default", "pandas", "polars"])
def test_what_comes_out_is_what_was_asked_for(table, given, asked):
    X, y = table
    rows = of_kind(X, given)
    mixture = MixtureRegressor(NUMBERS, **FAST).set_output(transform=asked).fit(rows, y)
    found = mixture.transform(rows)
    assert type(found) is {"default": np.ndarray, "pandas": pd.DataFrame, "polars": pl.DataFrame}[asked]
    np.testing.assert_array_equal(np.asarray(found), mixture.predict_experts(rows))
    if asked != "default":
        assert list(found.columns) == COLUMNS
    if given == asked == "pandas":
        pd.testing.assert_index_equal(found.index, X.index)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_union_puts_predictions_beside_columns(table, kind):
    X, y = table
    rows = of_kind(X, kind)
    union = FeatureUnion([("mixture", MixtureRegressor(NUMBERS, **FAST)), ("scaled", StandardScaler())])
    found = union.set_output(transform=kind).fit_transform(rows, y)
    own = StandardScaler().fit(rows).get_feature_names_out()  # older versions know no names of polars
    assert list(found.columns) == [f"mixture__{name}" for name in COLUMNS] + [f"scaled__{name}" for name in own]
    assert list(found.columns) == list(union.get_feature_names_out())
    np.testing.assert_allclose(found["mixture__ridge"], Ridge().fit(X, y).predict(X))
    np.testing.assert_allclose(found[f"scaled__{own[1]}"], StandardScaler().fit_transform(X)[:, 1])


def test_a_model_after_a_mixture_in_a_pipeline(table):
    X, y = table
    whole = make_pipeline(MixtureRegressor(NUMBERS, **FAST), LinearRegression()).fit(X, y)
    answers = MixtureRegressor(NUMBERS, **FAST).fit(X, y).predict_experts(X)
    np.testing.assert_allclose(whole.predict(X), LinearRegression().fit(answers, y).predict(answers))
    np.testing.assert_array_equal(clone(whole).fit(X, y).predict(X), whole.predict(X))
    assert list(whole[:-1].get_feature_names_out()) == COLUMNS


def test_names_of_classes_targets_and_labels(table):
    X, y = table
    three = np.array(["low", "middle", "high"])[np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))]
    classes = MixtureClassifier(CLASSES, **FAST).set_output(transform="pandas").fit(X, three)
    frame = classes.transform(X)
    assert list(frame.columns)[:3] == ["logistic_high", "logistic_low", "logistic_middle"]
    k = list(classes.named_experts_).index("tree")
    np.testing.assert_array_equal(frame["tree_low"], classes.predict_experts(X)[:, k, 1])
    labels = pd.DataFrame({"dear": y > 0, "odd": X["a"] > 0}).astype(int)
    several = MixtureClassifier(CLASSES, **FAST).set_output(transform="pandas").fit(X, labels)
    np.testing.assert_array_equal(several.transform(X)["tree_odd"], several.predict_experts(X)[:, 1, 1])
    targets = MixtureRegressor(NUMBERS, **FAST).set_output(transform="pandas").fit(X, np.c_[y, -y])
    np.testing.assert_array_equal(targets.transform(X)["ridge_1"], targets.predict_experts(X)[:, 0, 1])


def test_names_before_fit():
    with pytest.raises(NotFittedError):
        MixtureRegressor(NUMBERS).get_feature_names_out()
