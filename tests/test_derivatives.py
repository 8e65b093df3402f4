"""Gradients against central differences; parts without gradient are named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVR

from metamix.data.columns import ColumnEncoder
from metamix.derivatives import (
    NoGradientError,
    gate_gradient,
    gradient,
    jacobian,
    mixture_gradient,
    softmax_gradient,
    spread_gradient,
    top_gradient,
)
from metamix.gates import ConstantGate, GaussianGate, NeighboursGate, SoftmaxGate
from metamix.recombination import combine, keep_top
from metamix.testing import check_gate
from metamix.training.stacking import FeatureWeightedStack


def central(function, X, step=1e-5):
    """Derivatives (n, ..., d) of a function of rows by central differences."""
    X = np.asarray(X, dtype=float)
    slopes = []
    for j in range(X.shape[1]):
        h = np.zeros(X.shape[1])
        h[j] = step * max(1e-12, X[:, j].std())
        slopes.append((np.asarray(function(X + h)) - np.asarray(function(X - h))) / (2 * h[j]))
    return np.stack(slopes, axis=-1)


def table(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * [1e3, 1.0, 1e-4][:d] + [5e3, 0.0, 1.0][:d]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    return X, Z[:, 0] - Z[:, 1] * Z[:, 2] + 0.1 * rng.standard_normal(n)


def close(found, expected):
    size = np.abs(expected).max(axis=tuple(range(expected.ndim - 1)), keepdims=True)
    return found.shape == expected.shape and (np.abs(found - expected) <= 1e-5 * size + 1e-12).all()


# -- models

SCALERS = [StandardScaler(), StandardScaler(with_std=False), RobustScaler(), MinMaxScaler(), MaxAbsScaler(),
           ColumnEncoder(), ColumnEncoder(scale=False)]  # fmt: skip
MODELS = {
    "linear": make_pipeline(StandardScaler(), LinearRegression()),
    "ridge of a column": make_pipeline(StandardScaler(), TransformedTargetRegressor(Ridge())),
    "lasso": make_pipeline(StandardScaler(), Lasso(0.1)),
    "descent": make_pipeline(StandardScaler(), SGDRegressor(random_state=0)),
    "vectors": make_pipeline(StandardScaler(), LinearSVR(max_iter=100_000, random_state=0)),
    "cubic": make_pipeline(ColumnEncoder(), PolynomialFeatures(3), Ridge()),
    "components": make_pipeline(StandardScaler(), PCA(2, whiten=True), PolynomialFeatures(2), LinearRegression()),
    "target": make_pipeline(
        ColumnEncoder(), "passthrough", TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    ),
    "search": GridSearchCV(make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge()), {"ridge__alpha": [1, 9]}),
    "constant": DummyRegressor(),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_gradients_of_models_equal_central_differences(model):
    X, y = table()
    fitted = clone(model).fit(X, 100 * y)
    assert close(gradient(fitted, X[:9]), central(fitted.predict, X)[:9])


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_jacobians_of_scalers_equal_central_differences(scaler):
    X, _ = table()
    fitted = clone(scaler).fit(X)
    assert close(jacobian(fitted, X), central(fitted.transform, X))


@given(degree=st.integers(1, 4), interactions=st.booleans(), bias=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=15)
def test_jacobians_of_polynomial_features_equal_central_differences(degree, interactions, bias, seed):
    Z = np.random.default_rng(seed).standard_normal((5, 3))
    Z[0] = 0.0
    terms = PolynomialFeatures(degree, interaction_only=interactions, include_bias=bias).fit(Z)
    assert np.allclose(jacobian(terms, Z), central(terms.transform, Z), atol=1e-7)


def test_own_methods_of_transformers_and_models_are_used():
    class Sine(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.fitted_ = True
            return self

        def transform(self, X):
            return np.sin(X)

        def jacobian(self, X):
            return np.cos(X)[:, :, None] * np.eye(X.shape[1])

    class Given(Ridge):
        def predict_gradient(self, X):
            return np.full(np.shape(X), 7.0)

    X = np.random.default_rng(0).standard_normal((20, 2))
    wave = make_pipeline(StandardScaler(), Sine(), LinearRegression()).fit(X, X[:, 0])
    assert close(gradient(wave, X), central(wave.predict, X))
    assert (gradient(Given().fit(X, X[:, 0]), X) == 7.0).all()


def test_the_gradient_of_a_plane_is_its_slope():
    X = np.random.default_rng(0).standard_normal((20, 2))
    plane = LinearRegression().fit(X, X @ [2.0, -3.0])
    assert np.allclose(gradient(plane, X[:4]), [[2.0, -3.0]] * 4)


def test_rows_are_processed_in_blocks_and_lists_of_models_are_averaged():
    X, y = table(n=700)
    models = [make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge(a)).fit(X, y) for a in (1, 100)]
    one, other = (gradient(model, X) for model in models)
    assert np.allclose(one[400:410], gradient(models[0], X[400:410]))
    assert np.allclose(gradient(models, X), (one + other) / 2)


def test_missing_values_and_their_indicators():
    X, y = table()
    X[::5, 1] = np.nan
    encoder = ColumnEncoder().fit(X)
    slopes = jacobian(encoder, X)
    assert slopes.shape == (60, 4, 3)
    assert (slopes[:, 3] == 0).all()
    assert (slopes[::5, :, 1] == 0).all()
    model = make_pipeline(ColumnEncoder(), Ridge()).fit(X, y)
    there = ~np.isnan(X[:, 1])
    assert close(gradient(model, X[there]), central(model.predict, X[there]))


def test_numeric_frames_equal_arrays():
    X, y = table()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = make_pipeline(ColumnEncoder(), PolynomialFeatures(2), Ridge())
    framed = gradient(model.fit(frame, y), frame)
    assert np.allclose(framed, gradient(clone(model).fit(X, y), X))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (RandomForestRegressor(3, random_state=0), "RandomForestRegressor"),
        (PoissonRegressor(), "PoissonRegressor"),  # has coef_, but is not linear
        (make_pipeline(QuantileTransformer(n_quantiles=10), LinearRegression()), "QuantileTransformer"),
        (make_pipeline(MinMaxScaler(clip=True), LinearRegression()), "MinMaxScaler"),
        (TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1), "FunctionTransformer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_without_gradient_are_named(model, named):
    X = np.random.default_rng(0).standard_normal((40, 2))
    fitted = model.fit(X, np.exp(X[:, 0]))
    with pytest.raises(NoGradientError, match=named) as caught:
        gradient(fitted, X)
    assert isinstance(caught.value, TypeError)


def test_classifiers_several_targets_text_and_sparse_columns_have_no_gradient():
    X = np.random.default_rng(0).standard_normal((40, 2))
    with pytest.raises(NoGradientError, match="LogisticRegression"):
        gradient(LogisticRegression().fit(X, X[:, 0] > 0), X)
    with pytest.raises(NoGradientError, match="LinearRegression"):
        gradient(LinearRegression().fit(X, X), X)
    with pytest.raises(NoGradientError, match="toarray"):
        gradient(LinearRegression().fit(X, X[:, 0]), sparse.csr_matrix(X))
    frame = pd.DataFrame({"size": X[:, 0], "city": ["Rome", "Oslo"] * 20})
    model = make_pipeline(ColumnEncoder(), LinearRegression()).fit(frame, X[:, 0])
    with pytest.raises(NoGradientError, match="non-numeric"):
        gradient(model, frame)
    with pytest.raises(NoGradientError, match="text"):
        jacobian(ColumnEncoder().fit(frame), X)


# -- gates

GATES = {
    "constant": ConstantGate(),
    "softmax": SoftmaxGate(penalty=0.01),
    "gmm": GaussianGate(),
}


def labels_of(Z):
    logits = np.column_stack([Z[:, 0], Z[:, 1] ** 2, 0.3 - Z[:, 0]])
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
def test_gradients_of_gates_equal_central_differences(gate):
    X, _ = table(n=200)
    X = np.c_[X, np.full(200, 3.0)]  # a constant column does not matter
    fitted = clone(gate).fit(X, labels_of((X - X.mean(axis=0)) / 1e3))
    slopes = gate_gradient(fitted, X)
    assert slopes.shape == (200, 3, 4)
    assert close(slopes[:, :, :3], central(fitted.predict_proba, X)[:, :, :3])
    assert np.abs(slopes.sum(axis=1)).max() <= 1e-9 * max(1.0, np.abs(slopes).max())
    assert np.isfinite(gate_gradient(fitted, np.full((1, 4), 1e200))).all()


def test_a_gate_without_gradient_is_named():
    X, _ = table()
    with pytest.raises(NoGradientError, match="NeighboursGate"):
        gate_gradient(NeighboursGate().fit(X, labels_of(X[:, :2] / 1e4)), X)


def test_the_public_check_of_gates_finds_a_wrong_gradient():
    class Wrong(SoftmaxGate):
        def weights_gradient(self, X):
            return 1.1 * super().weights_gradient(X)

    checks = dict(check_gate(Wrong(penalty=0.01)))
    with pytest.raises(AssertionError, match="central differences"):
        checks["gradient_is_the_slope_of_the_weights"]()


def test_softmax_gradient_of_nonlinear_logits():
    rng = np.random.default_rng(0)
    X, A = rng.standard_normal((30, 2)), rng.standard_normal((2, 4))

    def weights(X):
        raised = np.exp(np.sin(X) @ A)
        return raised / raised.sum(axis=1, keepdims=True)

    slopes = np.cos(X)[:, None, :] * A.T
    assert close(softmax_gradient(weights(X), slopes), central(weights, X))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gradient_of_the_largest_weights(k):
    X = np.random.default_rng(0).standard_normal((100, 2))
    gate = SoftmaxGate(penalty=0.01).fit(X, labels_of(X))
    weights = gate.predict_proba(X)
    found = top_gradient(weights, gate_gradient(gate, X), keep_top(weights, k))
    assert close(found, central(lambda X: keep_top(gate.predict_proba(X), k), X))


# -- the stack and the mixture


def test_the_spread_of_equal_predictions_has_gradient_zero():
    assert (spread_gradient(np.ones((2, 3)), np.arange(12.0).reshape(2, 3, 2)) == 0).all()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("with_features", [False, True])
def test_gradient_of_the_feature_weighted_stack(wide, with_features):
    rng = np.random.default_rng(1)
    X = rng.uniform(-2.5, 2.5, (300, 4))  # some rows beyond the range to which features are clipped
    A, B = rng.standard_normal((4, 3)), rng.standard_normal((4, 4))

    def predictions(X):
        return np.sin(X) @ A

    def features(X):
        return X @ B if with_features else None

    y = predictions(X)[:, 0] * (X[:, 0] > 0) + predictions(X)[:, 1] * X[:, 1]
    pairs = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    stack = FeatureWeightedStack(most_columns=2 if wide else 20).fit(predictions(X), y, pairs, features=features(X))
    slopes = np.cos(X)[:, None, :] * A.T
    columns = np.tile(B.T, (300, 1, 1)) if with_features else None
    found = stack.predict_gradient(predictions(X), features(X), slopes, columns)
    expected = central(lambda X: stack.predict(predictions(X), features(X)), X)
    smooth = np.abs(found - expected).max(axis=1) <= 1e-5 * np.abs(expected).max()
    assert smooth.mean() > 0.99  # except for rows within a step of the clipping bounds
    assert np.ptp(found, axis=0).min() > 0.1


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
@pytest.mark.parametrize("k", [None, 1])
def test_gradient_of_the_mixture(gate, k):
    X, y = table(n=200)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    gate = clone(gate).fit(X, labels_of(Z))
    experts = [clone(MODELS[name]).fit(X, y) for name in ("linear", "cubic", "components")]

    def predictions(X):
        return np.column_stack([expert.predict(X) for expert in experts])

    weights = gate.predict_proba(X)
    kept = keep_top(weights, k)
    found = mixture_gradient(
        kept,
        predictions(X),
        top_gradient(weights, gate_gradient(gate, X), kept),
        np.stack([gradient(expert, X) for expert in experts], axis=1),
    )
    assert close(found, central(lambda X: combine(keep_top(gate.predict_proba(X), k), predictions(X)), X))


def test_experts_of_weight_zero_may_have_missing_predictions():
    weights, slopes = np.array([[1.0, 0.0]]), np.zeros((1, 2, 2))
    given = np.array([[[1.0, 2.0], [np.nan, np.nan]]])
    assert np.array_equal(mixture_gradient(weights, np.array([[3.0, np.nan]]), slopes, given), [[1.0, 2.0]])
