"""The plain mixture as a column of the honest table: what stands there is what is fitted in the end."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import PredefinedSplit, ShuffleSplit, TimeSeriesSplit
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureRegressor

POOL = [("line", LinearRegression()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]


def _regimes(n=240, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.where(X[:, 0] > 0, 4 * X[:, 1] + 3, -4 * X[:, 2]) + 0.1 * rng.standard_normal(n)


def _error(mixture):
    X, y = _regimes(1000, seed=9)
    return np.sqrt(np.mean((mixture.predict(X) - y) ** 2))


def test_a_single_hold_out_keeps_the_mixtures_own_answers():
    X, y = _regimes()
    cv = ShuffleSplit(1, test_size=0.4, random_state=0)
    mixture = MixtureRegressor(POOL, cv=cv, random_state=0).fit(X, y)
    held = mixture.fold_of_row_ >= 0
    column = list(mixture.named_experts_).index("mixture")
    for k in range(2):
        assert not np.allclose(mixture.oof_predictions_[held, column], mixture.oof_predictions_[held, k])
    assert mixture.n_experts_ == 2
    assert _error(mixture) < 1, "one line has 2"


def test_the_order_of_experts_is_of_no_account_in_a_time_series():
    X, y = _regimes()
    one, other = (
        MixtureRegressor(pool, cv=TimeSeriesSplit(3), start="kmeans", n_experts=2, random_state=0).fit(X, y)
        for pool in (POOL, POOL[::-1])
    )
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-5, atol=1e-5)


def test_a_start_with_a_tiny_regime_is_pruned_without_an_error():
    X, y = _regimes()
    labels = (X[:, 0] > 0).astype(int)
    labels[:3] = 2
    mixture = MixtureRegressor(POOL, start=labels, cv=3, random_state=0).fit(X, y)
    assert mixture.n_experts_ == 2
    assert _error(mixture) < 1


@pytest.mark.parametrize("later", [{"specialize": False}, {"refit": False}])
def test_nothing_of_an_earlier_fit_survives(later):
    X, y = _regimes(120)
    mixture = MixtureRegressor(POOL, cv=3, random_state=0).fit(X, y)
    assert hasattr(mixture, "mixture_")
    mixture.set_params(**later).fit(X, y)
    assert not hasattr(mixture, "mixture_")


def test_experts_that_are_right_in_their_own_part_are_found_by_the_last_gate():
    """Two experts know one half each, whatever they are fitted to; constant weights name neither."""
    X, y = _regimes(150)
    halves = [
        ("right", Ridge(1e-6).fit(X[X[:, 0] > 0], y[X[:, 0] > 0])),
        ("left", Ridge(1e-6).fit(X[X[:, 0] <= 0], y[X[:, 0] <= 0])),
    ]
    from metamix import fit_predictions

    test, truth = _regimes(1000, seed=3)
    answers = {name: model.predict(X) for name, model in halves}
    mixture = fit_predictions(answers, X, y, random_state=0)
    predicted = mixture.predict(test, predictions={name: model.predict(test) for name, model in halves})
    assert np.mean((predicted - truth) ** 2) < 0.1 * np.var(truth)
    assert mixture.verdict_.winner == "gated"


def test_distinct_experts_take_the_regimes_that_suit_them():
    X, y = _regimes(400)
    mixture = MixtureRegressor(POOL, specialize=True, cv=3, random_state=0).fit(X, y)
    assert list(mixture.named_experts_) == ["line", "tree"]
    assert _error(mixture) < 1.5


@pytest.mark.parametrize(("slope", "alone"), [(1e3, True), (1.0, False)])
@pytest.mark.parametrize("refit", [True, False])
def test_where_the_gate_is_certain_the_mixture_answers_alone(slope, alone, refit):
    """Two planes with noise: a border that is drawn by x, or where x hardly tells which of them a row is of."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    second = rng.random(600) < expit(slope * X[:, 0])
    y = np.where(second, 3 * X[:, 1], -3 * X[:, 1] + 2) + 0.3 * rng.normal(size=600)
    mixture = MixtureRegressor(["linear", "forest"], n_experts="auto", refit=refit, random_state=0).fit(X, y)
    weights = mixture.gate_weights(X)
    assert (weights[:, -2] == 1).all() == alone, "the mixture is the last column but one, before the stack"
    if alone and refit:
        np.testing.assert_array_equal(mixture.predict(X), mixture.mixture_.predict(X))


@pytest.mark.parametrize(("n", "seed", "top_k", "far"), [(120, 3, 1, 0), (200, 1, None, 3000)])
def test_certainty_is_that_of_the_gate_and_of_rows_that_count(n, seed, top_k, far):
    """Neither the largest of one weight kept, nor rows without weight far from the border, make a gate certain."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    y = np.where(X[:, 0] + 0.8 * rng.normal(size=n) > 0, 2 * X[:, 1], -2 * X[:, 1]) + 0.3 * rng.normal(size=n)
    X = np.vstack([X, np.column_stack([rng.choice([-50.0, 50.0], far), rng.normal(size=far)])])
    y, weight = np.append(y, np.zeros(far)), np.append(np.ones(n), np.zeros(far))
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    folds = PredefinedSplit(np.arange(n + far) % 4)
    mixture = MixtureRegressor(pool, n_experts=2, cv=folds, top_k=top_k, random_state=0)
    assert mixture.fit(X, y, sample_weight=weight).verdict_.alone != "mixture"
