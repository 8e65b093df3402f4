"""Radial basis functions against scipy's interpolator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from metamix.experts.radial import RadialBasis


@pytest.mark.parametrize(("kernel", "degree"), [("cubic", 1), ("linear", 0)])
def test_predictions_equal_scipy_at_the_same_smoothing(kernel: str, degree: int, waves: Any) -> None:
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


def test_noise_is_smoothed_and_exact_targets_are_interpolated(waves: Any) -> None:
    X, y = waves(150, noise=0.0)
    np.testing.assert_allclose(RadialBasis().fit(X, y).predict(X), y, atol=1e-3)
    X, y = waves(150, noise=0.5)
    X_new, truth = waves(500, noise=0.0, seed=1)
    interpolated = RBFInterpolator(X, y, kernel="cubic")(X_new)
    smoothed = RadialBasis().fit(X, y).predict(X_new)
    assert np.mean((smoothed - truth) ** 2) < 0.2 * np.mean((interpolated - truth) ** 2)


def test_a_linear_function_is_extrapolated(waves: Any) -> None:
    X, _ = waves(50)
    y = 3 * X[:, 0] - X[:, 1] + 2
    np.testing.assert_allclose(RadialBasis("cubic").fit(X, y).predict([[100.0, 50.0]]), [252.0], rtol=1e-4)


def test_estimator_checks_of_scikit_learn(failed_estimator_checks: Any) -> None:
    assert failed_estimator_checks(RadialBasis()) == []
