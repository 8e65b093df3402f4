"""Properties that Kriging and RadialBasis share: weights, units, small and degenerate tables, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamix.experts.kriging import Kriging
from metamix.experts.radial import RadialBasis

BOTH = pytest.mark.parametrize("kind", [Kriging, RadialBasis])


@BOTH
@pytest.mark.parametrize("parameters", [{}, {"exact_rows": 15, "n_centres": 12}], ids=["exact", "centres"])
@settings(max_examples=3)
@given(seed=st.integers(0, 1000))
def test_integer_weights_equal_repeated_rows(kind: Any, parameters: dict[str, int], seed: int, waves: Any) -> None:
    X, y = waves(30, seed=seed)
    times = np.random.default_rng(seed).integers(0, 4, 30)
    weighted = kind(**parameters).fit(X, y, times.astype(float))
    repeated = kind(**parameters).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    X_new, _ = waves(20, seed=seed + 1)
    np.testing.assert_allclose(weighted.predict(X_new), repeated.predict(X_new), rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_matter(kind: Any, factor: float, waves: Any) -> None:
    X, y = waves()
    X_new, _ = waves(20, seed=1)
    plain, scaled = kind().fit(X, y), kind().fit(X * factor, y / factor)
    np.testing.assert_allclose(scaled.predict(X_new * factor) * factor, plain.predict(X_new), rtol=1e-4, atol=1e-4)
    if kind is Kriging:
        deviation = scaled.predict(X_new * factor, return_std=True)[1]
        np.testing.assert_allclose(deviation * factor, plain.predict(X_new, return_std=True)[1], rtol=1e-3)


@BOTH
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_rows(kind: Any, n: int, waves: Any) -> None:
    X, y = waves(n, d=3)
    model = kind().fit(X, y)
    assert np.isfinite(model.predict(X * 100)).all()
    assert np.abs(model.predict(X) - y.mean()).max() < 2 * np.ptp(y) + 1e-9


@BOTH
def test_degenerate_tables(kind: Any, waves: Any) -> None:
    X, y = waves(40)
    odd = np.column_stack([X, X[:, 0], np.full(40, 7.0)])  # with a duplicated and a constant column
    assert np.mean((kind().fit(odd, y).predict(odd) - y) ** 2) < 0.2 * np.var(y)
    np.testing.assert_allclose(kind().fit(X, np.full(40, 0.1)).predict(X * 9), 0.1, rtol=1e-12)
    same = kind().fit(np.zeros((6, 2)), np.arange(6.0))
    assert same.predict([[0.0, 0.0]])[0] == pytest.approx(2.5)
    doubled = kind().fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(doubled.predict(X), y, atol=0.5)


@BOTH
def test_several_targets(kind: Any, waves: Any, central_differences: Any) -> None:
    X, y = waves()
    Y = np.column_stack([y, 1000 * (y + X[:, 0]), np.full(len(y), 3.0)])
    model = kind().fit(X, Y)
    answer = model.predict(X)
    assert answer.shape == (60, 3)
    np.testing.assert_allclose(answer[:, 2], 3.0)
    assert np.corrcoef(answer[:, 1], Y[:, 1])[0, 1] > 0.97
    X_new, _ = waves(5, seed=1)
    np.testing.assert_allclose(
        model.predict_gradient(X_new), central_differences(model.predict, X_new), rtol=1e-3, atol=1e-3
    )


@BOTH
def test_invalid_kernels_and_weights_are_named(kind: Any, waves: Any) -> None:
    X, y = waves(10)
    with pytest.raises(ValueError, match=r"must be one of .* or 'auto'"):
        kind(kernel="cosine").fit(X, y)
    with pytest.raises(ValueError, match="not zero everywhere"):
        kind().fit(X, y, np.zeros(10))
    with pytest.raises(ValueError, match="not negative"):
        kind().fit(X, y, np.r_[-1.0, np.ones(9)])


@BOTH
def test_gradients_of_the_sparse_approximation(kind: Any, waves: Any, central_differences: Any) -> None:
    X, y = waves(80)
    model = kind(exact_rows=20, n_centres=15).fit(X, y)
    X_new, _ = waves(10, seed=1)
    np.testing.assert_allclose(
        model.predict_gradient(X_new), central_differences(model.predict, X_new), rtol=1e-4, atol=1e-4
    )
