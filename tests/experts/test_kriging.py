"""Kriging against scikit-learn's Gaussian process, coverage and a smooth test function."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from metamix.experts.kriging import Kriging


@pytest.mark.parametrize(("kernel", "theirs"), [("smooth", RBF), ("matern52", Matern), ("matern32", Matern)])
def test_predictions_equal_scikit_learn_at_the_same_parameters(kernel: str, theirs: Any, waves: Any) -> None:
    X, y = waves()
    model = Kriging(kernel).fit(X, y)
    shape = {} if kernel == "smooth" else {"nu": 2.5 if kernel == "matern52" else 1.5}
    amplitude, noise = model.amplitude_**2, model.noise_**2
    # A constant kernel of large variance is a diffuse prior on the mean.
    process = ConstantKernel(amplitude) * theirs(model.length_, **shape) + ConstantKernel(1e6) + WhiteKernel(noise)
    reference = GaussianProcessRegressor(process, alpha=1e-12, optimizer=None).fit(X, y)
    X_new = np.random.default_rng(1).uniform(-3, 3, (50, 2))
    for ours, expected in zip(
        model.predict(X_new, return_std=True), reference.predict(X_new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_estimated_parameters_are_as_good_as_those_of_scikit_learn(waves: Any) -> None:
    X, y = waves()
    model = Kriging("smooth").fit(X, y)
    process = ConstantKernel(1.0) * RBF([1.0, 1.0]) + WhiteKernel(0.1)
    reference = GaussianProcessRegressor(process, n_restarts_optimizer=3, normalize_y=True, random_state=0)
    X_new, truth = waves(400, noise=0.0, seed=1)

    def error(fitted: Any) -> float:
        return float(np.sqrt(np.mean((fitted.predict(X_new) - truth) ** 2)))

    assert error(model) < 1.1 * error(reference.fit(X, y))
    assert 0.07 < model.noise_ < 0.14  # the true noise is 0.1


def test_weights_divide_the_noise_variance(waves: Any) -> None:
    X, y = waves()
    weight = np.random.default_rng(2).uniform(0.1, 2.0, 60)
    model = Kriging("smooth").fit(X, y, weight)
    process = ConstantKernel(model.amplitude_**2) * RBF(model.length_) + ConstantKernel(1e4)
    reference = GaussianProcessRegressor(process, alpha=model.noise_**2 / weight, optimizer=None).fit(X, y)
    X_new, _ = waves(30, seed=1)
    np.testing.assert_allclose(model.predict(X_new), reference.predict(X_new), rtol=1e-3, atol=1e-4)


def test_a_smooth_function_is_interpolated_to_many_digits(shared: Path) -> None:
    folder = shared / "acceptance"
    sys.path.insert(0, str(folder))
    try:
        import cases  # type: ignore[import-not-found, unused-ignore]
    finally:
        sys.path.remove(str(folder))
    X, y, X_test, y_test = cases.branin(200, 0)
    assert cases.relative_error(y_test, Kriging().fit(X, y).predict(X_test)) < 3e-5


def test_prediction_intervals_have_their_coverage(waves: Any) -> None:
    X, y = waves(200, noise=0.3)
    X_new, y_new = waves(2000, noise=0.3, seed=1)
    for model in (Kriging(), Kriging(exact_rows=100, n_centres=40)):
        mean, deviation = model.fit(X, y).predict(X_new, return_std=True)
        assert 0.86 < np.mean(np.abs(y_new - mean) < 1.645 * deviation) < 0.94
    far = model.predict([[50.0, 50.0]], return_std=True)[1]
    assert far[0] > 0.8 * np.std(y)


@pytest.mark.parametrize("parameters", [{}, {"exact_rows": 20, "n_centres": 30}], ids=["exact", "centres"])
def test_leverage_gives_leave_one_out_predictions(parameters: dict[str, int], waves: Any) -> None:
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


def test_the_sparse_approximation_is_almost_as_accurate(waves: Any) -> None:
    X, y = waves(500, noise=0.1)
    X_new, truth = waves(500, noise=0.0, seed=1)

    def error(model: Kriging) -> float:
        return float(np.sqrt(np.mean((model.fit(X, y).predict(X_new) - truth) ** 2)))

    assert error(Kriging(exact_rows=100, n_centres=100)) < 1.1 * error(Kriging())


def test_estimator_checks_of_scikit_learn(failed_estimator_checks: Any) -> None:
    assert failed_estimator_checks(Kriging("smooth", search_rows=30, exact_rows=40, n_centres=20)) == []
