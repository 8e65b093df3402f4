"""`sklearn.set_config(transform_output=...)` is for the transformers of the user's and changes no prediction."""

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from metamix import MixtureClassifier, MixtureRegressor, compare, load_example, registry
from metamix.fitting import prepare
from metamix.likelihoods import Gaussian

OUTPUTS = ["pandas", "polars"]
SMALL = {"cv": 2, "random_state": 0}
#: They compile or train for seconds, and begin with the same columns as the others.
SLOW = {"xgboost", "lightgbm", "catboost", "torch_mlp", "neural", "mlp"}


@pytest.fixture(scope="module")
def flats():
    X, price = load_example("mixed")
    return X[:60], price[:60].to_numpy()


def labels(y):
    return np.where(y > np.median(y), "dear", "cheap")


def same_under(output, found):
    """Check that a function finds the same numbers whatever transformers are configured to return."""
    expected = found()
    with sklearn.config_context(transform_output=output):
        np.testing.assert_array_equal(found(), expected)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["regressors", "classifiers"])
def test_every_named_expert(flats, kind, output):
    X, y = flats
    names = [row.name for row in registry.describe() if row.kind == kind and row.distribution == "metamix"]
    for name in sorted(set(names) - SLOW):
        part, target = getattr(registry, kind)[name], y if kind == "regressors" else labels(y)
        same_under(output, lambda part=part, target=target: prepare(part(), 0).fit(X, target).predict(X))


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_gate_by_name(flats, output):
    X, y = flats
    names = sorted({row.name for row in registry.describe() if row.kind == "gates"} - SLOW)
    for name in names:
        mixture = MixtureRegressor(["ridge", "linear"], gate=name, specialize=False, **SMALL)
        if name == "online":
            mixture.set_params(cv=TimeSeriesSplit(3))
        same_under(output, lambda mixture=mixture: mixture.fit(X, y).gate_weights(X))


def test_the_whole_table_of_candidates(flats):
    X, y = flats
    same_under("pandas", lambda: MixtureRegressor(["ridge", "linear"], n_experts=2, **SMALL).fit(X, y).predict(X))
    mixture = MixtureClassifier(["logistic", "naive_bayes"], n_experts=2, **SMALL)
    same_under("polars", lambda: mixture.fit(X, labels(y)).predict_proba(X))


def test_comparison_and_likelihoods_in_sample(flats):
    X, y = flats
    same_under("pandas", lambda: compare(X, y, ["ridge", "linear"], **SMALL).frame()["loss"])
    em = MixtureRegressor(
        ["linear", "ridge"], specialize=True, cv=None, start="kmeans", max_rounds=3, random_state=0,
        likelihood=Gaussian(heteroscedastic=True),
    )  # fmt: skip
    same_under("pandas", lambda: em.fit(X, y).predict(X, return_std=True)[1])


def test_sparse_rows_and_wide_tables():
    X = np.random.default_rng(0).normal(size=(60, 50))
    mixture = MixtureRegressor(["ridge", "linear"], specialize=False, **SMALL)
    for rows in (X, sparse.csr_matrix(X)):
        same_under("pandas", lambda rows=rows: mixture.fit(rows, X[:, 0]).predict(rows))


@pytest.mark.parametrize("gate", ["softmax", LogisticRegression()])
def test_a_transformer_of_the_gate_may_return_frames(flats, gate):
    X, y = flats
    columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), ["size"]))
    mixture = MixtureRegressor(["ridge", "linear"], gate=gate, gate_features=columns, specialize=False, **SMALL)
    same_under("pandas", lambda: mixture.fit(X, y).gate_weights(X))


def test_the_learners_of_torch(flats):
    nn = pytest.importorskip("metamix.nn")
    X, y = flats
    learner = nn.NeuralMixtureRegressor(n_experts=2, hidden=4, max_epochs=2, random_state=0, missing="impute")
    same_under("pandas", lambda: learner.fit(X, y).predict(X))


def test_pipelines_of_the_user_still_get_frames():
    X = np.random.default_rng(0).normal(size=(60, 2))
    by_name = FunctionTransformer(lambda frame: frame[["x1"]])
    expert = make_pipeline(StandardScaler(), by_name, Ridge())
    with sklearn.config_context(transform_output="pandas"):
        mixture = MixtureRegressor([("one", expert), "ridge"], specialize=False, on_error="raise", **SMALL)
        frame = mixture.fit(X, X[:, 1]).transform(X)
    assert frame.columns.tolist()[:2] == ["one", "ridge"]
    np.testing.assert_allclose(frame["one"], X[:, 1], atol=0.1)


@pytest.mark.parametrize(
    "transformer",
    [SelectKBest(k=1), make_pipeline(StandardScaler(), SelectKBest(k=1)), sklearn.preprocessing.TargetEncoder()],
)
def test_supervised_transformers_of_the_gate_are_refused(transformer):
    X = np.random.default_rng(0).normal(size=(40, 2))
    for face, y in ((MixtureRegressor, X[:, 0]), (MixtureClassifier, (X[:, 0] > 0).astype(int))):
        mixture = face(gate_features=transformer, specialize=False, **SMALL)
        with pytest.raises(ValueError, match=r"cannot be fitted without y.*make_pipeline"):
            mixture.fit(X, y)


@pytest.mark.parametrize("features", [3, None, StandardScaler, Ridge(), object()])
def test_what_is_no_transformer_is_refused(features):
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match="is no transformer"):
        MixtureRegressor(["ridge"], gate_features=features, **SMALL).fit(X, X[:, 0])
