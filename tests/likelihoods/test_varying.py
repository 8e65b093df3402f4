"""A standard deviation that depends on x: recovery of simulated ones, bounds, and tables of all types."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from metamix.likelihoods import Gaussian


def test_a_simulated_scale_is_recovered(heteroscedastic):
    _, x, _, y = heteroscedastic(6000)
    shares = np.full((6000, 2), 0.5)
    fitted = Gaussian(heteroscedastic=True).fit(y, np.zeros((6000, 2)), shares, X=x)
    _, test, truth, z = heteroscedastic(2000, seed=15)
    found = fitted.standard_deviation(np.zeros((2000, 2)), X=test)
    assert np.abs(np.log(found / truth[:, None])).mean() < 0.05
    density = fitted.log_prob(z, np.zeros((2000, 2)), X=test)
    assert density[:, 0] == pytest.approx(stats.norm.logpdf(z, 0, found[:, 0]))
    assert density.mean() > Gaussian().fit(y, np.zeros((6000, 2)), shares).log_prob(z, np.zeros((2000, 2))).mean() + 0.2


def test_each_expert_is_fitted_to_its_own_rows(heteroscedastic):
    rng, x, scale, _ = heteroscedastic(8000)
    first = rng.random(8000) < 0.5
    y = np.where(first, scale, 3.0) * rng.standard_normal(8000)
    fitted = Gaussian(heteroscedastic=True).fit(y, np.zeros((8000, 2)), np.c_[first, ~first].astype(float), X=x)
    found = fitted.standard_deviation(np.zeros((8000, 2)), X=x)
    assert np.abs(np.log(found[:, 0] / scale)).mean() < 0.06
    assert found[:, 1] == pytest.approx(3.0, rel=0.15)


def test_the_scale_is_bounded_far_from_the_training_data(heteroscedastic, zero_predictions):
    _, x, _, y = heteroscedastic(1000)
    fitted = Gaussian(heteroscedastic=True).fit(y, *zero_predictions(1000), X=x)
    seen = fitted.standard_deviation(np.zeros((1000, 1)), X=x)
    far = fitted.standard_deviation(np.zeros((4, 1)), X=np.array([[1e9, 0], [-1e9, 0], [0, 1e9], [-1e9, 1e9]]))
    assert ((far >= seen.min() * (1 - 1e-9)) & (far <= seen.max() * (1 + 1e-9))).all()


def test_the_scale_is_mostly_constant_if_no_column_is_relevant(zero_predictions):
    rng = np.random.default_rng(16)
    constant = 0
    for _ in range(20):
        x, y = rng.standard_normal((100, 10)), rng.standard_normal(100)
        fitted = Gaussian(heteroscedastic=True).fit(y, *zero_predictions(100), X=x)
        found = fitted.standard_deviation(np.zeros((100, 1)), X=x)
        assert found.max() / found.min() < 4
        constant += np.ptp(found) < 1e-9
    assert constant >= 12


def test_without_x_or_with_own_scales_nothing_changes(heteroscedastic, zero_predictions):
    _, x, scale, y = heteroscedastic(500)
    plain, varying = Gaussian(), Gaussian(heteroscedastic=True)
    assert np.array_equal(
        varying.fit(y, *zero_predictions(500)).log_prob(y, np.zeros((500, 1)), X=x),
        plain.fit(y, *zero_predictions(500)).log_prob(y, np.zeros((500, 1))),
    )
    assert np.array_equal(
        varying.fit(y, *zero_predictions(500), X=x).standard_deviation(np.zeros((3, 1))),
        np.full((3, 1), plain.scale_[0]),
    )
    own = scale[:, None]
    assert np.array_equal(
        varying.fit(y, *zero_predictions(500), scale=own, X=x).standard_deviation(np.zeros((500, 1)), own, X=x),
        plain.fit(y, *zero_predictions(500), scale=own).standard_deviation(np.zeros((500, 1)), own),
    )


@pytest.mark.parametrize("kind", ["frame", "sparse", "many", "constant", "few"])
def test_columns_of_any_type(kind, heteroscedastic, zero_predictions):
    rng, x, _, y = heteroscedastic(600)
    group = rng.integers(0, 2, 600)
    tables = {
        "frame": pd.DataFrame({"x": x[:, 0], "side": np.where(group, "a", "b"), "none": np.nan}),
        "sparse": sparse.random(600, 400, 0.05, random_state=0, format="csr"),
        "many": rng.standard_normal((600, 80)),
        "constant": np.ones((600, 3)),
        "few": x[:6],
    }
    X = tables[kind]
    y = np.where(group, 5.0, 1.0) * rng.standard_normal(600) if kind == "frame" else y
    n = X.shape[0]
    fitted = Gaussian(heteroscedastic=True).fit(y[:n], *zero_predictions(n), X=X)
    found = fitted.standard_deviation(np.zeros((n, 1)), X=X)[:, 0]
    assert np.isfinite(found).all()
    if kind == "frame":
        assert found[group == 1].mean() / found[group == 0].mean() == pytest.approx(5.0, rel=0.2)
    if kind in ("constant", "few"):
        assert np.ptp(found) == 0.0
