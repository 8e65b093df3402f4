"""Gradients are what central differences say, and what has none says so."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
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
from metamix.data.gate_features import GateFeatures, StackColumns
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
def test_gradients_of_models_are_central_differences(model):
    X, y = table()
    fitted = clone(model).fit(X, 100 * y)
    assert close(gradient(fitted, X[:9]), central(fitted.predict, X)[:9])


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_scalers_hand_slopes_on(scaler):
    X, _ = table()
    fitted = clone(scaler).fit(X)
    assert close(jacobian(fitted, X), central(fitted.transform, X))


@given(degree=st.integers(1, 4), interactions=st.booleans(), bias=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_powers_are_lowered_by_one(degree, interactions, bias, seed):
    Z = np.random.default_rng(seed).standard_normal((5, 3))
    Z[0] = 0.0
    terms = PolynomialFeatures(degree, interaction_only=interactions, include_bias=bias).fit(Z)
    assert np.allclose(jacobian(terms, Z), central(terms.transform, Z), atol=1e-7)


def test_a_transformer_may_bring_its_own_jacobian_and_a_model_its_gradient():
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


def test_many_rows_are_taken_in_blocks_and_fold_models_averaged():
    X, y = table(n=700)
    models = [make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge(a)).fit(X, y) for a in (1, 100)]
    one, other = (gradient(model, X) for model in models)
    assert np.allclose(one[400:410], gradient(models[0], X[400:410]))
    assert np.allclose(gradient(models, X), (one + other) / 2)


def test_gaps_and_columns_that_mark_them():
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


def test_frames_of_numbers_are_as_good_as_arrays():
    X, y = table()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = make_pipeline(ColumnEncoder(), PolynomialFeatures(2), Ridge())
    framed = gradient(model.fit(frame, y), frame)
    assert np.allclose(framed, gradient(clone(model).fit(X, y), X))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (RandomForestRegressor(3, random_state=0), "RandomForestRegressor"),
        (PoissonRegressor(), "PoissonRegressor"),  # has coef_, and is not linear
        (make_pipeline(QuantileTransformer(n_quantiles=10), LinearRegression()), "QuantileTransformer"),
        (make_pipeline(MinMaxScaler(clip=True), LinearRegression()), "MinMaxScaler"),
        (TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1), "FunctionTransformer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_gradient_is_named(model, named):
    X = np.random.default_rng(0).standard_normal((40, 2))
    fitted = model.fit(X, np.exp(X[:, 0]))
    with pytest.raises(NoGradientError, match=named) as caught:
        gradient(fitted, X)
    assert isinstance(caught.value, TypeError)


def test_classes_several_targets_text_and_sparse_columns_have_none():
    X = np.random.default_rng(0).standard_normal((40, 2))
    with pytest.raises(NoGradientError, match="LogisticRegression"):
        gradient(LogisticRegression().fit(X, X[:, 0] > 0), X)
    with pytest.raises(NoGradientError, match="LinearRegression"):
        gradient(LinearRegression().fit(X, X), X)
    with pytest.raises(NoGradientError, match="toarray"):
        gradient(LinearRegression().fit(X, X[:, 0]), sparse.csr_matrix(X))
    frame = pd.DataFrame({"size": X[:, 0], "city": ["Rome", "Oslo"] * 20})
    model = make_pipeline(ColumnEncoder(), LinearRegression()).fit(frame, X[:, 0])
    with pytest.raises(NoGradientError, match="no numbers"):
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
def test_gradients_of_gates_are_central_differences(gate):
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


def test_the_check_of_gates_sees_a_wrong_gradient():
    class Wrong(SoftmaxGate):
        def weights_gradient(self, X):
            return 1.1 * super().weights_gradient(X)

    checks = dict(check_gate(Wrong(penalty=0.01)))
    with pytest.raises(AssertionError, match="central differences"):
        checks["gradient_is_the_slope_of_the_weights"]()


def test_softmax_of_any_logits():
    rng = np.random.default_rng(0)
    X, A = rng.standard_normal((30, 2)), rng.standard_normal((2, 4))

    def weights(X):
        raised = np.exp(np.sin(X) @ A)
        return raised / raised.sum(axis=1, keepdims=True)

    slopes = np.cos(X)[:, None, :] * A.T
    assert close(softmax_gradient(weights(X), slopes), central(weights, X))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weights_that_are_left_over(k):
    X = np.random.default_rng(0).standard_normal((100, 2))
    gate = SoftmaxGate(penalty=0.01).fit(X, labels_of(X))
    weights = gate.predict_proba(X)
    found = top_gradient(weights, gate_gradient(gate, X), keep_top(weights, k))
    assert close(found, central(lambda X: keep_top(gate.predict_proba(X), k), X))


# -- gate features


@pytest.mark.parametrize(
    "kind",
    ["x", [2, 0], make_pipeline(StandardScaler(), PCA(2)), make_pipeline(StandardScaler(), PolynomialFeatures(2))],
    ids=str,
)
@pytest.mark.parametrize("gaps", [False, True])
def test_gate_features_hand_slopes_on(kind, gaps):
    X, _ = table()
    seen = X.copy()
    if gaps and isinstance(kind, str | list):
        seen[3, 0] = np.nan  # an encoder then stands in between
    features = GateFeatures(kind, most_columns=2 if kind == "x" else None).fit(seen)
    assert close(features.jacobian(X), central(features.base, X))


def test_gate_features_of_frames_are_found_by_name():
    X, _ = table()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    features = GateFeatures(["c", "a"]).fit(frame)
    expected = central(lambda X: features.base(pd.DataFrame(X, columns=["a", "b", "c"])), X)
    assert close(features.jacobian(frame), expected)


@pytest.mark.parametrize("kind", ["predictions", "both"])
def test_gate_features_made_of_answers(kind):
    X, _ = table()
    Z = StandardScaler().fit(X)
    features = GateFeatures(kind).fit(X)

    def answers(X):
        return np.column_stack([np.sin(Z.transform(X)[:, 0]), Z.transform(X).prod(axis=1)])

    slopes = central(answers, X)
    expected = central(lambda X: features.join(features.base(X), answers(X)), X)
    assert close(features.jacobian(X, answers(X), slopes), expected)
    with pytest.raises(NoGradientError, match=kind):
        features.jacobian(X)


def test_gate_features_without_gradient_are_named():
    X, _ = table()
    with pytest.raises(NoGradientError, match="KMeans"):
        GateFeatures(KMeans(2, n_init=1, random_state=0)).fit(X).jacobian(X)


# -- the stack and the mixture


def test_spread_of_equal_answers_is_level():
    assert (spread_gradient(np.ones((2, 3)), np.arange(12.0).reshape(2, 3, 2)) == 0).all()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("bent", [False, True])
def test_the_stack_follows_experts_and_features(wide, bent):
    rng = np.random.default_rng(1)
    X = rng.uniform(-2.5, 2.5, (300, 4))  # some rows beyond where modulators are cut off
    A, B = rng.standard_normal((4, 3)), rng.standard_normal((4, 4))

    def answers(X):
        return np.sin(X) @ A

    def features(X):
        return X @ B if bent else None

    y = answers(X)[:, 0] * (X[:, 0] > 0) + answers(X)[:, 1] * X[:, 1]
    pairs = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    stack = FeatureWeightedStack(most_columns=2 if wide else 20).fit(answers(X), y, pairs, features=features(X))
    slopes = np.cos(X)[:, None, :] * A.T
    columns = np.tile(B.T, (300, 1, 1)) if bent else None
    found = stack.predict_gradient(answers(X), features(X), slopes, columns)
    expected = central(lambda X: stack.predict(answers(X), features(X)), X)
    smooth = np.abs(found - expected).max(axis=1) <= 1e-5 * np.abs(expected).max()
    assert smooth.mean() > 0.99  # but for rows within a step of a cut
    assert np.ptp(found, axis=0).min() > 0.1


def test_columns_of_the_stack_hand_slopes_on():
    X, _ = table()
    assert np.array_equal(StackColumns().fit(X).jacobian(X), np.tile(np.eye(3), (60, 1, 1)))
    seen = X.copy()
    seen[3, 0] = np.nan
    columns = StackColumns().fit(seen)
    assert close(columns.jacobian(X), central(columns.dense, X))


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
@pytest.mark.parametrize("k", [None, 1])
def test_the_mixture_is_a_product_rule(gate, k):
    X, y = table(n=200)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    gate = clone(gate).fit(X, labels_of(Z))
    experts = [clone(MODELS[name]).fit(X, y) for name in ("linear", "cubic", "components")]

    def answers(X):
        return np.column_stack([expert.predict(X) for expert in experts])

    weights = gate.predict_proba(X)
    kept = keep_top(weights, k)
    found = mixture_gradient(
        kept,
        answers(X),
        top_gradient(weights, gate_gradient(gate, X), kept),
        np.stack([gradient(expert, X) for expert in experts], axis=1),
    )
    assert close(found, central(lambda X: combine(keep_top(gate.predict_proba(X), k), answers(X)), X))


def test_an_expert_without_weight_need_not_answer():
    weights, slopes = np.array([[1.0, 0.0]]), np.zeros((1, 2, 2))
    given = np.array([[[1.0, 2.0], [np.nan, np.nan]]])
    assert np.array_equal(mixture_gradient(weights, np.array([[3.0, np.nan]]), slopes, given), [[1.0, 2.0]])
