"""Gaussian processes and radial basis functions against scikit-learn, scipy, brute force and planted truth."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import SkipTestWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import check_estimator

from metamix import MixtureClassifier, MixtureRegressor
from metamix.derivatives import gradient
from metamix.experts import classifiers, regressors
from metamix.experts.covariance import FAMILIES, negative_likelihood
from metamix.experts.curves import NaturalSplines, PolynomialColumns
from metamix.experts.kriging import Kriging
from metamix.experts.labels import ProcessClassifier
from metamix.experts.models import RidgeByGcv, ScaledTarget
from metamix.experts.radial import RadialBasis
from metamix.experts.weighting import merge_equal_rows
from metamix.persistence import load, save

Array = NDArray[np.float64]
SMOOTH = [Kriging, RadialBasis]


def waves(n: int = 60, noise: float = 0.1, seed: int = 0, d: int = 2) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, d))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, -1] ** 2 + noise * rng.normal(size=n)


def differences(predict: Any, X: Array, step: float = 1e-5) -> Array:
    columns = []
    for j in range(X.shape[1]):
        move = np.zeros(X.shape[1])
        move[j] = step
        columns.append((predict(X + move) - predict(X - move)) / (2 * step))
    return np.stack(columns, axis=-1)


# The likelihood


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihood_gradient_is_that_of_its_value(family: str) -> None:
    X, y = waves(25)
    X[3] = X[4]
    rows = merge_equal_rows(X, np.column_stack([y, X[:, 0]]), np.random.default_rng(0).integers(1, 4, 25).astype(float))
    logs = np.log([0.7, 1.5, 0.2])
    expected = approx_fprime(logs, lambda at: negative_likelihood(family, rows, at)[0], 1e-7)
    np.testing.assert_allclose(negative_likelihood(family, rows, logs)[1], expected, rtol=1e-4, atol=1e-4)


def test_restricted_likelihood_is_the_density_with_a_vague_mean() -> None:
    X, y = waves(12)
    rows = merge_equal_rows(X, y[:, None], np.ones(12))

    def density(logs: Array) -> float:
        covariance = RBF(np.exp(logs[:2]))(rows.X) + np.exp(logs[2]) * np.eye(12)
        # The amplitude is integrated out by its profile, which differs from the best by a constant only.
        inverse = np.linalg.inv(covariance)
        ones = np.ones(12)
        mean = ones @ inverse @ rows.Y[:, 0] / (ones @ inverse @ ones)
        amplitude = (rows.Y[:, 0] - mean) @ inverse @ (rows.Y[:, 0] - mean) / 11
        vague = amplitude * covariance + 1e6
        return float(-multivariate_normal(mean=np.zeros(12), cov=vague).logpdf(rows.Y[:, 0]))

    first, second = np.log([0.7, 1.5, 0.2]), np.log([2.0, 0.5, 0.05])
    found = negative_likelihood("smooth", rows, first)[0] - negative_likelihood("smooth", rows, second)[0]
    assert found == pytest.approx(density(first) - density(second), abs=1e-3)


# Kriging


@pytest.mark.parametrize(("kernel", "theirs"), [("smooth", RBF), ("matern52", Matern), ("matern32", Matern)])
def test_kriging_is_scikit_learns_process_at_the_same_parameters(kernel: str, theirs: Any) -> None:
    X, y = waves()
    model = Kriging(kernel).fit(X, y)
    shape = {} if kernel == "smooth" else {"nu": 2.5 if kernel == "matern52" else 1.5}
    amplitude, noise = model.amplitude_**2, model.noise_**2
    # A constant kernel of large variance is a mean about which nothing is known.
    process = ConstantKernel(amplitude) * theirs(model.length_, **shape) + ConstantKernel(1e6) + WhiteKernel(noise)
    reference = GaussianProcessRegressor(process, alpha=1e-12, optimizer=None).fit(X, y)
    X_new = np.random.default_rng(1).uniform(-3, 3, (50, 2))
    for ours, expected in zip(
        model.predict(X_new, return_std=True), reference.predict(X_new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_kriging_finds_what_scikit_learns_search_finds() -> None:
    X, y = waves()
    model = Kriging("smooth").fit(X, y)
    process = ConstantKernel(1.0) * RBF([1.0, 1.0]) + WhiteKernel(0.1)
    reference = GaussianProcessRegressor(process, n_restarts_optimizer=3, normalize_y=True, random_state=0)
    X_new, truth = waves(400, noise=0.0, seed=1)

    def error(fitted: Any) -> float:
        return float(np.sqrt(np.mean((fitted.predict(X_new) - truth) ** 2)))

    assert error(model) < 1.1 * error(reference.fit(X, y))
    assert 0.07 < model.noise_ < 0.14  # 0.1 was planted


def test_weights_are_variances_in_scikit_learns_alpha() -> None:
    X, y = waves()
    weight = np.random.default_rng(2).uniform(0.1, 2.0, 60)
    model = Kriging("smooth").fit(X, y, weight)
    process = ConstantKernel(model.amplitude_**2) * RBF(model.length_) + ConstantKernel(1e4)
    reference = GaussianProcessRegressor(process, alpha=model.noise_**2 / weight, optimizer=None).fit(X, y)
    X_new, _ = waves(30, seed=1)
    np.testing.assert_allclose(model.predict(X_new), reference.predict(X_new), rtol=1e-3, atol=1e-4)


def test_kriging_reads_a_smooth_function_to_many_digits() -> None:
    folder = Path(__file__).resolve().parents[2] / "shared" / "acceptance"
    if not folder.is_dir():
        pytest.skip("the acceptance cases are not there")
    sys.path.insert(0, str(folder))
    try:
        import cases  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(folder))
    X, y, X_test, y_test = cases.branin(200, 0)
    assert cases.relative_error(y_test, Kriging().fit(X, y).predict(X_test)) < 3e-5


def test_kriging_deviation_covers_new_targets() -> None:
    X, y = waves(200, noise=0.3)
    X_new, y_new = waves(2000, noise=0.3, seed=1)
    for model in (Kriging(), Kriging(exact_rows=100, n_centres=40)):
        mean, deviation = model.fit(X, y).predict(X_new, return_std=True)
        assert 0.86 < np.mean(np.abs(y_new - mean) < 1.645 * deviation) < 0.94
    far = model.predict([[50.0, 50.0]], return_std=True)[1]
    assert far[0] > 0.8 * np.std(y)


@pytest.mark.parametrize("parameters", [{}, {"exact_rows": 20, "n_centres": 30}], ids=["exact", "centres"])
def test_leverage_says_what_leaving_a_row_out_does(parameters: dict[str, int]) -> None:
    X, y = waves(40, noise=0.3)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 40)
    model = Kriging("smooth", least_noise=0.05, **parameters).fit(X, y, weight)
    left_out = y - (y - model.predict(X)) / (1 - model.leverage(X, weight))
    noise, amplitude = model.noise_**2, model.amplitude_**2
    kernel = ConstantKernel(amplitude) * RBF(model.length_) + ConstantKernel(1e-12 if parameters else 1e6)
    level = np.average(y, weights=weight) if parameters else 0.0  # with centres the trend is the mean
    for i in range(0, 40, 7):
        rest = np.arange(40) != i
        one = GaussianProcessRegressor(kernel, alpha=noise / weight[rest], optimizer=None)
        expected = one.fit(X[rest], y[rest] - level).predict(X[i : i + 1])[0] + level
        assert left_out[i] == pytest.approx(expected, abs=0.1 if parameters else 1e-3)


def test_centres_lose_little() -> None:
    X, y = waves(500, noise=0.1)
    X_new, truth = waves(500, noise=0.0, seed=1)

    def error(model: Kriging) -> float:
        return float(np.sqrt(np.mean((model.fit(X, y).predict(X_new) - truth) ** 2)))

    assert error(Kriging(exact_rows=100, n_centres=100)) < 1.1 * error(Kriging())


# What both promise


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("parameters", [{}, {"exact_rows": 15, "n_centres": 12}], ids=["exact", "centres"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_weight_of_two_is_a_row_given_twice(kind: Any, parameters: dict[str, int], seed: int) -> None:
    X, y = waves(30, seed=seed)
    times = np.random.default_rng(seed).integers(0, 4, 30)
    weighted = kind(**parameters).fit(X, y, times.astype(float))
    repeated = kind(**parameters).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    X_new, _ = waves(20, seed=seed + 1)
    np.testing.assert_allclose(weighted.predict(X_new), repeated.predict(X_new), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_change_nothing(kind: Any, factor: float) -> None:
    X, y = waves()
    X_new, _ = waves(20, seed=1)
    plain, scaled = kind().fit(X, y), kind().fit(X * factor, y / factor)
    np.testing.assert_allclose(scaled.predict(X_new * factor) * factor, plain.predict(X_new), rtol=1e-4, atol=1e-4)
    if kind is Kriging:
        deviation = scaled.predict(X_new * factor, return_std=True)[1]
        np.testing.assert_allclose(deviation * factor, plain.predict(X_new, return_std=True)[1], rtol=1e-3)


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_rows_do(kind: Any, n: int) -> None:
    X, y = waves(n, d=3)
    model = kind().fit(X, y)
    assert np.isfinite(model.predict(X * 100)).all()
    assert np.abs(model.predict(X) - y.mean()).max() < 2 * np.ptp(y) + 1e-9


@pytest.mark.parametrize("kind", SMOOTH)
def test_odd_tables_do(kind: Any) -> None:
    X, y = waves(40)
    odd = np.column_stack([X, X[:, 0], np.full(40, 7.0)])  # a column twice, and a constant
    assert np.mean((kind().fit(odd, y).predict(odd) - y) ** 2) < 0.2 * np.var(y)
    np.testing.assert_allclose(kind().fit(X, np.full(40, 0.1)).predict(X * 9), 0.1, rtol=1e-12)
    same = kind().fit(np.zeros((6, 2)), np.arange(6.0))
    assert same.predict([[0.0, 0.0]])[0] == pytest.approx(2.5)
    doubled = kind().fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(doubled.predict(X), y, atol=0.5)


@pytest.mark.parametrize("kind", SMOOTH)
def test_several_targets_at_once(kind: Any) -> None:
    X, y = waves()
    Y = np.column_stack([y, 1000 * (y + X[:, 0]), np.full(len(y), 3.0)])
    model = kind().fit(X, Y)
    answer = model.predict(X)
    assert answer.shape == (60, 3)
    np.testing.assert_allclose(answer[:, 2], 3.0)
    assert np.corrcoef(answer[:, 1], Y[:, 1])[0, 1] > 0.97
    X_new, _ = waves(5, seed=1)
    np.testing.assert_allclose(model.predict_gradient(X_new), differences(model.predict, X_new), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", SMOOTH)
def test_bad_kernels_and_weights_are_named(kind: Any) -> None:
    X, y = waves(10)
    with pytest.raises(ValueError, match="or 'auto', would do"):
        kind(kernel="cosine").fit(X, y)
    with pytest.raises(ValueError, match="Every sample weight is zero"):
        kind().fit(X, y, np.zeros(10))
    with pytest.raises(ValueError, match="none negative"):
        kind().fit(X, y, np.r_[-1.0, np.ones(9)])


@pytest.mark.parametrize(
    "estimator", [Kriging(), RadialBasis(), ProcessClassifier()], ids=lambda one: type(one).__name__
)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(estimator, on_fail=None)
    assert len(results) > 30
    assert [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")] == []


# Radial basis functions


@pytest.mark.parametrize(("kernel", "degree"), [("cubic", 1), ("linear", 0)])
def test_rbf_is_scipys_at_the_same_smoothing(kernel: str, degree: int) -> None:
    X, y = waves()
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 60)
    model = RadialBasis(kernel).fit(X, y, weight)
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    theirs = RBFInterpolator(
        (X - mean) / scale, y, kernel=kernel, degree=degree, smoothing=model.smoothing_[0] / weight
    )
    X_new, _ = waves(30, seed=1)
    np.testing.assert_allclose(model.predict(X_new), theirs((X_new - mean) / scale), rtol=1e-6, atol=1e-8)


def test_rbf_smooths_noise_and_interpolates_without() -> None:
    X, y = waves(150, noise=0.0)
    np.testing.assert_allclose(RadialBasis().fit(X, y).predict(X), y, atol=1e-3)
    X, y = waves(150, noise=0.5)
    X_new, truth = waves(500, noise=0.0, seed=1)
    interpolated = RBFInterpolator(X, y, kernel="cubic")(X_new)
    smoothed = RadialBasis().fit(X, y).predict(X_new)
    assert np.mean((smoothed - truth) ** 2) < 0.2 * np.mean((interpolated - truth) ** 2)


def test_rbf_follows_a_line_far_outside() -> None:
    X, _ = waves(50)
    y = 3 * X[:, 0] - X[:, 1] + 2
    np.testing.assert_allclose(RadialBasis("cubic").fit(X, y).predict([[100.0, 50.0]]), [252.0], rtol=1e-4)


# Gradients


@pytest.mark.parametrize("name", ["ridge", "quadratic", "cubic", "splines", "rbf", "kriging"])
def test_gradients_of_named_regressors_are_those_of_their_answers(name: str) -> None:
    X, y = waves(80)
    model = getattr(regressors, name)().fit(X, y)
    X_new, _ = waves(25, seed=1)
    expected = differences(model.predict, X_new)
    np.testing.assert_allclose(gradient(model, X_new), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", SMOOTH)
def test_gradients_with_centres(kind: Any) -> None:
    X, y = waves(80)
    model = kind(exact_rows=20, n_centres=15).fit(X, y)
    X_new, _ = waves(10, seed=1)
    np.testing.assert_allclose(model.predict_gradient(X_new), differences(model.predict, X_new), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("terms", [PolynomialColumns(3), NaturalSplines(5)], ids=["products", "splines"])
def test_jacobians_of_terms_inside_and_outside_the_data(terms: Any) -> None:
    X, _ = waves(50, d=3)
    terms.fit(X)
    X_new = np.vstack([waves(10, d=3, seed=1)[0], [[9.0, 0.5, -9.0]]])
    np.testing.assert_allclose(terms.jacobian(X_new), differences(terms.transform, X_new), rtol=1e-5, atol=1e-6)


def test_scaled_target_hands_on_deviations_and_gradients() -> None:
    X, y = waves()
    scaled, plain = ScaledTarget(Kriging()).fit(X, 50 * y + 7), Kriging().fit(X, y)
    mean, deviation = scaled.predict(X, return_std=True)
    expected = plain.predict(X, return_std=True)
    np.testing.assert_allclose((mean - 7) / 50, expected[0], atol=1e-5)
    np.testing.assert_allclose(deviation / 50, expected[1], rtol=1e-4)
    np.testing.assert_allclose(scaled.predict_gradient(X) / 50, plain.predict_gradient(X), rtol=1e-3, atol=1e-4)
    assert hasattr(ScaledTarget(RidgeByGcv()), "predict_gradient")
    assert not hasattr(ScaledTarget(HistGradientBoostingRegressor()), "predict_gradient")


# Classes


def test_process_classifier_knows_planted_probabilities() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (600, 2))
    truth = 1 / (1 + np.exp(-3 * np.sin(2 * X[:, 0]) - X[:, 1]))
    y = np.where(rng.random(600) < truth, "yes", "no")
    model = ProcessClassifier().fit(X[:300], y[:300])
    found = model.predict_proba(X[300:])
    best = log_loss(y[300:], np.column_stack([1 - truth, truth])[300:])
    assert log_loss(y[300:], found) < best + 0.05
    assert np.abs(found[:, 1] - truth[300:]).mean() < 0.1


def test_process_classifier_takes_weights_for_repeated_rows() -> None:
    X, y = waves(50, noise=0.3)
    labels = np.digitize(y, [0.0, 1.0])
    times = np.random.default_rng(0).integers(0, 4, 50)
    weighted = ProcessClassifier().fit(X, labels, times.astype(float)).predict_proba(X)
    repeated = ProcessClassifier().fit(np.repeat(X, times, axis=0), np.repeat(labels, times)).predict_proba(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-3)


# The factories


@pytest.mark.parametrize(
    ("module", "name"), [(regressors, "rbf"), (regressors, "kriging"), (classifiers, "gaussian_process")]
)
def test_named_experts_survive_cloning_and_storing(module: Any, name: str, tmp_path: Path) -> None:
    X, y = waves()
    target = y if module is regressors else y > 0.5
    expert = getattr(module, name)()
    fitted = clone(expert).fit(X, target)
    answer = fitted.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), answer)
    np.testing.assert_array_equal(clone(fitted).fit(X, target).predict(X), answer)
    kind = MixtureRegressor if module is regressors else MixtureClassifier
    mixture = kind([name, "ridge" if module is regressors else "logistic"], specialize=False, random_state=0)
    save(mixture.fit(X, target), tmp_path / "mixture")
    np.testing.assert_array_equal(load(tmp_path / "mixture").predict(X), mixture.predict(X))


def test_small_tables_are_no_constant_to_boosted_trees() -> None:
    X, y = waves(30, noise=0.0)
    y = y + 3 * (X[:, 0] > 0)
    for name in ("boosting", "lightgbm", "xgboost"):
        model = getattr(regressors, name)().fit(X, y)
        assert np.mean((model.predict(X) - y) ** 2) < 0.5 * np.var(y), name
    label = X[:, 0] > 0
    assert classifiers.lightgbm().fit(X, label).score(X, label) > 0.9
    kept = regressors.boosting(min_samples_leaf=20).fit(X, y)
    np.testing.assert_allclose(kept.predict(X), y.mean())
