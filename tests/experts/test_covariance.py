"""The restricted likelihood against finite differences and a multivariate normal density."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import RBF

from metamix.experts.covariance import FAMILIES, negative_likelihood
from metamix.experts.weighting import merge_equal_rows


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_equals_finite_differences(family: str, waves: Any) -> None:
    X, y = waves(25)
    X[3] = X[4]
    rows = merge_equal_rows(X, np.column_stack([y, X[:, 0]]), np.random.default_rng(0).integers(1, 4, 25).astype(float))
    logs = np.log([0.7, 1.5, 0.2])
    expected = approx_fprime(logs, lambda at: negative_likelihood(family, rows, at)[0], 1e-7)
    np.testing.assert_allclose(negative_likelihood(family, rows, logs)[1], expected, rtol=1e-4, atol=1e-4)


def test_the_restricted_likelihood_is_the_density_with_a_diffuse_prior_on_the_mean(waves: Any) -> None:
    X, y = waves(12)
    rows = merge_equal_rows(X, y[:, None], np.ones(12))

    def density(logs: Any) -> float:
        covariance = RBF(np.exp(logs[:2]))(rows.X) + np.exp(logs[2]) * np.eye(12)
        # With the amplitude at its optimum; the constant cancels in the difference below.
        inverse = np.linalg.inv(covariance)
        ones = np.ones(12)
        mean = ones @ inverse @ rows.Y[:, 0] / (ones @ inverse @ ones)
        amplitude = (rows.Y[:, 0] - mean) @ inverse @ (rows.Y[:, 0] - mean) / 11
        diffuse = amplitude * covariance + 1e6
        return float(-multivariate_normal(mean=np.zeros(12), cov=diffuse).logpdf(rows.Y[:, 0]))

    first, second = np.log([0.7, 1.5, 0.2]), np.log([2.0, 0.5, 0.05])
    found = negative_likelihood("smooth", rows, first)[0] - negative_likelihood("smooth", rows, second)[0]
    assert found == pytest.approx(density(first) - density(second), abs=1e-3)
