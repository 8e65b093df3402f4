"""What regressor and classifier share: columns, shapes, weights, densities, the mixture's own estimator."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

NUMBERS = [
    ("ridge", Ridge()),
    ("tree", DecisionTreeRegressor(max_depth=4, random_state=0)),
    ("near", KNeighborsRegressor(5)),
]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
FAST = {"gate": SoftmaxGate(penalty=0.1), "cv": 2, "random_state": 0}
REGIMES = {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
N = 60


def fitted(specialize, kind="numbers", experts=None, n=N, **parameters):
    X, y = make_regimes(n, 4, task="regression" if kind != "classes" else "classification", random_state=1)
    face, pool = (MixtureClassifier, CLASSES) if kind == "classes" else (MixtureRegressor, NUMBERS)
    y = np.column_stack([y, X[:, 0] - y**2]) if kind == "targets" else y
    parameters = {**FAST, **(REGIMES if specialize == "auto" else {"start": "kmeans", "max_rounds": 1}), **parameters}
    return face(pool if experts is None else experts, specialize=specialize, **parameters).fit(X, y), X, y


# --- every kind of fit ----------------------------------------------------------------------------------

KINDS = [
    (specialize, final, kind, features)
    for kind in ("numbers", "targets", "classes")
    for features in ("x", "predictions")
    for specialize in (False, "auto", True)
    for final in (("blend", "best", "simplest") if specialize is not True else ("blend",))
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def every_kind(request):
    specialize, final, kind, features = request.param
    return (*fitted(specialize, kind, final=final, gate_features=features), kind)


def test_columns_come_in_the_documented_order(every_kind):
    mixture, X, _, kind = every_kind
    experts = ["logistic", "tree"] if kind == "classes" else ["ridge", "tree", "near"]
    feature_stack = [] if kind == "classes" else ["feature-weighted stack"]
    expected = {
        False: [*experts, "stack", *feature_stack, "mean"],
        "auto": [*experts, "mixture", "stack", *feature_stack, "stack with mixture", "mean"],
        True: experts,
    }[mixture.specialize]
    assert list(mixture.named_experts_) == list(mixture.devices_) == expected
    assert all(a is b for a, b in zip(mixture.named_experts_.values(), mixture.experts_, strict=True))
    K, last = len(expected), {"numbers": (), "targets": (2,), "classes": (2,)}[kind]
    several = (2,) if kind == "targets" else ()
    assert mixture.predict_experts(X).shape == mixture.oof_predictions_.shape == (N, K, *last)
    assert mixture.gate_weights(X).shape == mixture.responsibilities_.shape == (N, K, *several)


def test_weights_times_predictions_is_predict(every_kind):
    mixture, X, _, kind = every_kind
    rows = np.vstack([X, 3 * X[:20]])
    weights, values = mixture.gate_weights(rows), mixture.predict_experts(rows)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    if kind == "classes":
        shares = mixture.predict_proba(rows)
        np.testing.assert_allclose(shares, np.einsum("nk,nkc->nc", weights, values), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(mixture.predict(rows), mixture.classes_[shares.argmax(axis=1)])
    else:
        total = (weights * values).sum(axis=1)
        np.testing.assert_allclose(mixture.predict(rows), total, rtol=1e-10, atol=1e-10 * np.abs(values).max())
    np.testing.assert_array_equal(mixture.assign(rows), weights.argmax(axis=1))


def test_transform_is_predict_experts_with_a_name_for_each_column(every_kind):
    mixture, X, _, kind = every_kind
    values, flat, names = mixture.predict_experts(X), mixture.transform(X), mixture.get_feature_names_out()
    assert flat.shape == (N, len(names))
    for k, name in enumerate(mixture.named_experts_):
        if kind == "numbers":
            np.testing.assert_array_equal(flat[:, list(names).index(name)], values[:, k])
        else:
            for c in range(2):
                np.testing.assert_array_equal(flat[:, list(names).index(f"{name}_{c}")], values[:, k, c])


def test_predict_resolves_no_names(every_kind):
    mixture, X, y, _ = every_kind
    own = {name: getattr(mixture, name) for name in ("experts", "gate", "gate_features")}
    methods = [
        lambda: mixture.predict(X), lambda: mixture.gate_weights(X), lambda: mixture.predict_experts(X),
        lambda: mixture.log_prob(X, y),
    ]  # fmt: skip
    before = [method() for method in methods]
    mixture.set_params(experts=["no such expert"], gate="no such gate", gate_features=["no such column"])
    try:
        for method, expected in zip(methods, before, strict=True):
            np.testing.assert_array_equal(method(), expected)
    finally:
        mixture.set_params(**own)


# --- after fit ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True, "auto"])
def numbers(request):
    return fitted(request.param, cv=3)


@pytest.fixture(scope="module", params=[False, True, "auto"])
def classes(request):
    return fitted(request.param, "classes", cv=3)


def test_attributes_after_fit(numbers):
    mixture, _, _ = numbers
    assert mixture.n_features_in_ == 4
    assert mixture.fold_of_row_.shape == (N,)
    assert list(mixture.failures_.columns) == ["expert", "fold", "error"]
    assert not len(mixture.failures_)
    if mixture.specialize is True:
        assert mixture.verdict_ is None
        assert mixture.candidates_ is None
    else:
        expected = ["mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated"]
        expected += ["mixture", "stack with mixture"] * (mixture.specialize == "auto") + ["blend"]
        assert mixture.candidates_["candidate"].tolist() == expected
        assert mixture.candidates_.columns.tolist() == ["candidate", "loss", "difference", "standard_error", "weight"]
        assert mixture.verdict_.winner in expected[:-1]
    if mixture.specialize is not False:
        assert {"round", "loss", "log_likelihood", "entropy", "seconds"} <= set(mixture.history_.columns)


def test_columns_of_experts_are_their_predictions(numbers):
    mixture, X, _ = numbers
    values = mixture.predict_experts(X)
    for k, name in enumerate(["ridge", "tree", "near"]):
        np.testing.assert_allclose(values[:, k], mixture.named_experts_[name].predict(X))


@pytest.mark.parametrize("refit", [True, False])
def test_without_specialisation_experts_are_fitted_to_all_rows(refit):
    mixture, X, y = fitted(False, refit=refit)
    for k, (name, expert) in enumerate(NUMBERS):
        if refit:
            expected = expert.fit(X, y).predict(X)
        else:
            assert len(mixture.named_experts_[name]) == 2
            halves = [mixture.fold_of_row_ != f for f in range(2)]
            expected = np.mean([expert.fit(X[rows], y[rows]).predict(X) for rows in halves], axis=0)
        np.testing.assert_allclose(mixture.predict_experts(X)[:, k], expected)


@pytest.mark.parametrize("specialize", [True, "auto"])
def test_without_refit_a_column_is_the_mean_of_its_fold_models(specialize):
    mixture, X, _ = fitted(specialize, refit=False)
    values = mixture.predict_experts(X)
    for k, name in enumerate(["ridge", "tree", "near"]):
        assert len(mixture.named_experts_[name]) == 2
        expected = np.mean([one.predict(X) for one in mixture.named_experts_[name]], axis=0)
        np.testing.assert_allclose(values[:, k], expected)
    if specialize == "auto":
        faces = mixture.named_experts_["mixture"]
        np.testing.assert_allclose(values[:, 3], np.mean([one.predict(X) for one in faces], axis=0))


# --- densities ------------------------------------------------------------------------------------------


def test_log_prob_and_responsibilities_of_classes(classes):
    mixture, X, y = classes
    weights, values = mixture.gate_weights(X), mixture.predict_experts(X)
    joint = weights * values[np.arange(N), :, y].clip(1e-6, 1)
    np.testing.assert_allclose(mixture.responsibilities(X, y), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(mixture.log_prob(X, y), np.log(joint.sum(axis=1)), rtol=1e-9, atol=1e-12)


def deviations(mixture, X):
    """Standard deviation (n, K) of y around each column: the mixture's own and noise, or one scale for all rows."""
    scale = mixture.likelihood_.scale_
    constant = np.broadcast_to(scale, (len(X), len(scale)))
    if mixture.specialize != "auto":
        return constant
    noise = mixture._fitted.targets[0].variance.noise
    own = mixture.mixture_.predict(X, return_std=True)[1]
    following = np.maximum(np.hypot(own[:, None], noise), mixture.likelihood_.smallest_)
    return np.where(np.isnan(noise), constant, following)


def test_responsibilities_are_those_of_a_gaussian_mixture(numbers):
    """Of the densities before recalibration."""
    mixture, X, y = numbers
    log_prob = norm.logpdf(y[:, None], mixture.predict_experts(X), deviations(mixture, X))
    with np.errstate(divide="ignore"):
        joint = np.log(mixture.gate_weights(X)) + log_prob
    total = logsumexp(joint, axis=1)
    np.testing.assert_allclose(mixture.responsibilities(X, y), np.exp(joint - total[:, None]), rtol=1e-7, atol=1e-12)


def test_standard_deviation_agrees_with_draws(numbers):
    mixture, X, _ = numbers
    mean, deviation = mixture.predict(X[:3], return_std=True)
    draws = mixture.sample(np.repeat(X[:3], 10_000, axis=0), random_state=0).reshape(3, -1)
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=5 * deviation.max() / 100)
    np.testing.assert_allclose(draws.std(axis=1), deviation, rtol=0.05)


def test_log_prob_is_a_density_whose_mean_is_the_prediction(numbers):
    mixture, X, _ = numbers
    mean, deviation = mixture.predict(X[:3], return_std=True)
    for i in range(3):
        grid = mean[i] + deviation[i] * np.linspace(-12, 12, 2001)
        density = np.exp(mixture.log_prob(np.repeat(X[i : i + 1], len(grid), axis=0), grid))
        assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
        assert np.trapezoid(density * grid, grid) == pytest.approx(mean[i], abs=0.02 * deviation[i])


# --- weights kept per row -------------------------------------------------------------------------------


def test_top_one_is_a_hard_choice():
    mixture, X, _ = fitted(True, top_k=1)
    weights = mixture.gate_weights(X)
    assert set(np.unique(weights)) == {0.0, 1.0}
    expected = mixture.predict_experts(X)[np.arange(N), mixture.assign(X)]
    np.testing.assert_allclose(mixture.predict(X), expected, rtol=1e-12)


@pytest.mark.parametrize("top_k", [1, 2])
def test_top_k_finds_who_is_right_where(halves, half_experts, top_k):
    X, y = halves()
    mixture = MixtureRegressor(half_experts, specialize=False, top_k=top_k, gate="softmax", final="best", cv=3)
    weights = mixture.set_params(random_state=0).fit(X, y).gate_weights(X)
    assert mixture.verdict_.best == "gated"
    assert ((weights > 0).sum(axis=1) <= top_k).all()
    clear = np.abs(X[:, 0]) > 0.2
    wrong = np.where(X[:, 0] > 0, 1, 0)
    assert (mixture.assign(X) == wrong)[clear].mean() < 0.05
    if top_k == 1:
        assert set(np.unique(weights)) == {0.0, 1.0}
    assert ((mixture.predict(X) - y)[clear] ** 2).mean() < 0.15 * y.var()


# --- the mixture's own estimator ------------------------------------------------------------------------


class CountedRidge(Ridge):
    """Records the rows and weights of each fit."""

    fits: list = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        weight = None if sample_weight is None else np.asarray(sample_weight).tobytes()
        self.fits.append((self.alpha, np.asarray(X).tobytes(), weight))
        return super().fit(X, y, sample_weight)


def test_the_mixture_is_not_fitted_again():
    CountedRidge.fits.clear()
    pool = [("one", CountedRidge(0.1)), ("two", CountedRidge(10.0))]
    mixture, X, y = fitted("auto", experts=pool, n=90)
    assert mixture.n_experts_ == mixture.mixture_.n_experts_ == 2
    count = len(CountedRidge.fits)
    # Which expert serves a regime is tried on all rows, so that a few fits are made twice.
    assert count >= len(set(CountedRidge.fits)) > 0.8 * count
    inner = mixture.mixture_
    column = list(mixture.named_experts_).index("mixture")
    np.testing.assert_array_equal(inner.predict(X), mixture.predict_experts(X)[:, column])
    inner.predict(X, return_std=True)
    inner.log_prob(X, y)
    assert len(CountedRidge.fits) == count
    assert isinstance(inner, MixtureRegressor)
    assert inner is mixture.named_experts_["mixture"]
    assert inner.specialize is True
    assert inner.verdict_ is None
    np.testing.assert_allclose(
        (inner.gate_weights(X) * inner.predict_experts(X)).sum(axis=1), inner.predict(X), rtol=1e-10
    )
    pd.testing.assert_frame_equal(mixture.history_, inner.history_)


def test_the_mixture_of_classes_predicts_its_column():
    mixture, X, _ = fitted("auto", "classes")
    column = list(mixture.named_experts_).index("mixture")
    shares = mixture.mixture_.predict_proba(X)
    np.testing.assert_array_equal(shares, mixture.predict_experts(X)[:, column])
    np.testing.assert_array_equal(mixture.mixture_.predict(X), mixture.classes_[shares.argmax(axis=1)])


@pytest.mark.parametrize("later", [{"specialize": False}, {"refit": False}])
def test_nothing_of_an_earlier_fit_survives(later):
    mixture, X, y = fitted("auto")
    assert hasattr(mixture, "mixture_")
    mixture.set_params(**later).fit(X, y)
    again, _, _ = fitted(mixture.specialize, refit=mixture.refit, **REGIMES)
    assert not hasattr(mixture, "mixture_")
    np.testing.assert_array_equal(mixture.predict(X), again.predict(X))


def test_one_regime_is_the_best_single_expert():
    mixture, X, _ = fitted("auto", n_experts=1)
    values, names = mixture.predict_experts(X), list(mixture.named_experts_)
    best = names.index(mixture.verdict_.best_single)
    np.testing.assert_array_equal(values[:, names.index("mixture")], values[:, best])
    np.testing.assert_array_equal(mixture.mixture_.predict(X), values[:, best])
    np.testing.assert_array_equal(values[:, names.index("stack with mixture")], values[:, names.index("stack")])
