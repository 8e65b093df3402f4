"""Polynomial and spline terms against scipy, finite differences and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from metamix.experts import regressors
from metamix.experts.curves import NaturalSplines, PolynomialColumns


def test_natural_splines_with_a_knot_at_each_row_interpolate() -> None:
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.normal(size=9)), rng.normal(size=9)
    basis = NaturalSplines(n_knots=9).fit(x[:, None])
    coefficients = np.linalg.solve(np.column_stack([np.ones(9), basis.transform(x[:, None])]), y)
    inside, outside = np.linspace(x[0], x[-1], 40), np.array([x[-1] + 1, x[-1] + 2, x[-1] + 3])

    def curve(points: Any) -> Any:
        return np.column_stack([np.ones(len(points)), basis.transform(points[:, None])]) @ coefficients

    np.testing.assert_allclose(curve(inside), CubicSpline(x, y, bc_type="natural")(inside), atol=1e-7)
    first, second, third = curve(outside)
    assert second - first == pytest.approx(third - second, rel=1e-6)


def test_interactions_are_left_out_beyond_max_terms() -> None:
    X = np.random.default_rng(0).normal(size=(30, 40))

    def terms(d: int, degree: int) -> int:
        return len(PolynomialColumns(degree).fit(X[:, :d]).terms_)

    assert terms(10, 2) == 65
    assert terms(10, 3) == 285
    assert terms(20, 3) == 20 * 3 + 190  # powers and pairs, no triples
    assert terms(40, 3) == 120  # powers only
    flags = np.column_stack([X[:, 0], X[:, 1] > 0])
    assert sorted(PolynomialColumns(2).fit(flags).terms_) == [(0,), (0, 0), (0, 1), (1,)]


def test_nonlinear_terms_are_bounded_far_from_the_data_and_linear_ones_are_not() -> None:
    X = np.linspace(-1, 1, 50)[:, None]
    cube = regressors.cubic().fit(X, X[:, 0] ** 3)
    np.testing.assert_allclose(cube.predict([[0.5], [1.5]]), [0.125, 3.375], atol=1e-3)
    assert abs(cube.predict([[100.0]])[0]) < 1000  # the cube itself is a million
    line = regressors.cubic().fit(X, 3 * X[:, 0])
    assert line.predict([[100.0]])[0] == pytest.approx(300, rel=1e-3)


@pytest.mark.parametrize("terms", [PolynomialColumns(3), NaturalSplines(5)], ids=["products", "splines"])
def test_jacobians_of_terms_inside_and_outside_the_data(terms: Any, waves: Any, central_differences: Any) -> None:
    X, _ = waves(50, d=3)
    terms.fit(X)
    X_new = np.vstack([waves(10, d=3, seed=1)[0], [[9.0, 0.5, -9.0]]])
    np.testing.assert_allclose(terms.jacobian(X_new), central_differences(terms.transform, X_new), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "estimator", [PolynomialColumns(), NaturalSplines()], ids=lambda estimator: type(estimator).__name__
)
def test_estimator_checks_of_scikit_learn(estimator: Any, failed_estimator_checks: Any) -> None:
    assert failed_estimator_checks(estimator) == []
