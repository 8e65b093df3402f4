"""Every method refuses tables without rows or columns alike, whatever the gate and whatever holds the table."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from metamix import MixtureClassifier, MixtureRegressor, compare, fit_predictions

rng = np.random.default_rng(0)
FRAME = pd.DataFrame({"u": rng.normal(size=40), "v": rng.normal(size=40)})
Y = FRAME["u"].to_numpy() + rng.normal(size=40)
LABELS = np.where(Y > 0, "a", "b")
METHODS = ["predict", "predict_proba", "gate_weights", "predict_experts", "transform", "assign", "predict_variance",
           "predict_gradient", "sample", "predict_interval"]  # fmt: skip
WITH_Y = ["responsibilities", "log_prob", "score"]
KINDS = {
    "array": np.asarray,
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "text": lambda frame: frame.assign(v="a").to_numpy(),
    "sparse": sparse.csr_matrix,
}


def refuse_no_rows(mixture, empty, y):
    message = r"Found array with 0 sample\(s\) .* minimum of 1 is required by (Neural)?Mixture"
    for name in METHODS + WITH_Y + ["predict_quantile"]:
        if hasattr(mixture, name):
            more = (y[:0],) if name in WITH_Y else (0.5,) if name == "predict_quantile" else ()
            with pytest.raises(ValueError, match=message):
                getattr(mixture, name)(empty, *more)


@pytest.mark.parametrize("gate", ["constant", "softmax", "gmm", "neighbours", "tree", "forest", "auto"])
def test_every_gate(gate):
    mixture = MixtureRegressor(["linear", "ridge"], gate=gate, specialize=False, cv=2, random_state=0)
    refuse_no_rows(mixture.fit(FRAME, Y), FRAME[:0], Y)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table(kind):
    X = KINDS[kind](FRAME)
    expert = [("one", Ridge())] if kind == "sparse" else ["ridge"]
    mixture = MixtureRegressor(expert, gate="constant", specialize=False, cv=2, random_state=0).fit(X, Y)
    empty = X.slice(0, 0) if kind == "arrow" else X[:0]
    refuse_no_rows(mixture, empty, Y)
    with pytest.raises(ValueError, match="0 sample"):
        mixture.fit(empty, Y[:0])
    with pytest.raises(ValueError, match=r"0 sample|without values"):
        compare(empty, Y[:0], expert)


def test_classes_targets_and_specialised_mixtures():
    mixture = MixtureClassifier(["logistic"], gate=LogisticRegression(), specialize=False, cv=2)
    refuse_no_rows(mixture.fit(FRAME, LABELS), FRAME[:0], LABELS)
    two = np.column_stack([Y, -Y])
    mixture = MixtureRegressor(["linear"], gate="constant", gate_features="predictions", specialize=False, cv=2)
    refuse_no_rows(mixture.fit(FRAME, two), FRAME[:0], two)
    mixture = MixtureRegressor(["linear", "ridge"], specialize=True, start="kmeans", max_rounds=1, cv=None)
    refuse_no_rows(mixture.fit(FRAME, Y), FRAME[:0], Y)


@pytest.mark.parametrize("features", ["x", "predictions"])
def test_predictions_made_elsewhere(features):
    given = {"one": Y + 0.1, "two": Y * 0.9}
    mixture = fit_predictions(given, FRAME, Y, gate="constant", gate_features=features, random_state=0)
    none = {name: values[:0] for name, values in given.items()}
    X = FRAME[:0] if features == "x" else None
    for call in (lambda: mixture.predict(X, none), lambda: mixture.gate_weights(X, none),
                 lambda: mixture.log_prob(X, Y[:0], none), lambda: mixture.assign(X, none),
                 lambda: fit_predictions(none, X, Y[:0], gate_features=features, task="regression")):  # fmt: skip
        with pytest.raises(ValueError, match=r"no rows|0 sample"):
            call()


def test_a_table_without_columns():
    mixture = MixtureRegressor(["ridge"], specialize=False, cv=2)
    for X in (FRAME[[]], FRAME[[]].to_numpy()):
        with pytest.raises(ValueError, match=r"0 feature\(s\)"):
            mixture.fit(X, Y)


def test_the_learners_of_torch():
    nn = pytest.importorskip("metamix.nn")
    learner = nn.NeuralMixtureRegressor(n_experts=2, hidden=4, max_epochs=1).fit(FRAME, Y)
    refuse_no_rows(learner, FRAME[:0], Y)
