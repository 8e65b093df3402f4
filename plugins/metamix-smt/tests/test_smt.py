"""The plugin passes metamix's checks; predictions, deviations and gradients are those of a smooth function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import metamix_smt
import numpy as np

from metamix.testing import check_plugin, parametrize_with_checks


@parametrize_with_checks(check_plugin("metamix-smt"))
def test_checks_of_metamix(check: Callable[[], None]) -> None:
    check()


def test_importing_it_does_not_import_metamix() -> None:
    code = "import sys, metamix_smt; sys.exit('metamix' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_smooth_function_its_slope_and_its_uncertainty() -> None:
    x = np.linspace(0, 6, 25)[:, None]
    model = metamix_smt.KrigingRegressor(random_state=0).fit(x, np.sin(x[:, 0]))
    new = np.array([[1.1], [4.3]])
    mean, deviation = model.predict(new, return_std=True)
    np.testing.assert_allclose(mean, np.sin(new[:, 0]), atol=1e-3)
    np.testing.assert_allclose(model.predict_gradient(new), np.cos(new), atol=1e-2)
    assert (model.predict([[20.0]], return_std=True)[1] > 10 * deviation).all()


def test_two_components_do_for_many_columns_of_which_one_direction_counts() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(120, 8))
    direction = np.r_[1.0, 0.5, 0.2, np.zeros(5)]
    model = metamix_smt.KrigingRegressor(n_comp=2, random_state=0).fit(X[:80], np.sin(X[:80] @ direction))
    assert np.abs(model.predict(X[80:]) - np.sin(X[80:] @ direction)).max() < 0.1
    np.testing.assert_allclose(
        model.predict_gradient(X[80:]), np.cos(X[80:] @ direction)[:, None] * direction, atol=0.2
    )


def test_radial_basis_functions_go_through_their_rows_and_follow_the_slope() -> None:
    x = np.linspace(0, 6, 25)[:, None]
    model = metamix_smt.RadialRegressor().fit(x, np.sin(x[:, 0]))
    np.testing.assert_allclose(model.predict(x), np.sin(x[:, 0]), atol=1e-3)
    np.testing.assert_allclose(model.predict_gradient([[1.1], [4.3]]), np.cos([[1.1], [4.3]]), atol=0.05)


def test_noise_is_estimated_and_rows_are_drawn_where_there_are_many() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(300, 1))
    model = metamix_smt.KrigingRegressor(max_rows=100, random_state=0).fit(X, X[:, 0] + 0.3 * rng.normal(size=300))
    assert len(model.X_) == 100
    mean, deviation = model.predict([[-1.0], [0.0], [1.0]], return_std=True)
    assert np.abs(mean - [-1.0, 0.0, 1.0]).max() < 0.3
    np.testing.assert_allclose(deviation, 0.3, atol=0.08)
