"""Mixtures of proxy models: planted regimes are found and counted, smooth functions and noise are one regime."""

import numpy as np
import pytest

from metamix.gates import SoftmaxGate
from metamix.training.regime_search import prune
from metamix.training.regime_search.proxy_mixture import _searches, proxy_responsibilities
from metamix.training.regime_search.proxy_models import FREE, LINEAR, ProxyColumns

GATE = SoftmaxGate(penalty=0.01, max_iter=50, tol=1e-3)  # as the estimators have it


def _found(X, y, K=None, seed=0, **more):
    """Responsibilities without regimes of too few rows, which training leaves out."""
    weight = np.ones(len(y))
    return prune(
        proxy_responsibilities(X, y.reshape(len(y), -1), weight, GATE, K, seed, **more).responsibilities, weight
    )


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_planted_regimes_are_found_and_counted_whatever_the_units(unit, two_lines, agreement):
    X, y, regime = two_lines(320, seed=2)
    found, ranking, _ = proxy_responsibilities(unit * X + unit, unit * y[:, None], np.ones(320), GATE, None, seed=0)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    found = prune(found, np.ones(320))
    assert found.shape == (320, 2)
    assert agreement(found, regime) > 0.9
    scores = [row["score"] for row in ranking]
    assert scores == sorted(scores)


def test_straight_regimes_are_found_where_proxies_that_bend_need_more_rows():
    """Two linear laws in eight columns on either side of an oblique border; radial terms would be a hundred or so."""
    counts, capacities = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(300, 8))
        first = X @ [1.0, 1.0, 0.5, 0, 0, 0, 0, 0] > 0
        y = np.where(first, 1 + X @ [1.0, -1, 0, 1, 0, 0, 0, 0], -1 + X @ [-1.0, 1, 0, 0, 1, 0, 0, 0])
        y += 0.5 * rng.normal(size=300)
        found = proxy_responsibilities(X, y[:, None], np.ones(300), GATE, None, seed)
        counts.append(prune(found.responsibilities, np.ones(300)).shape[1])
        capacities.append(found.capacity)
    assert counts.count(2) >= 2
    assert capacities.count(LINEAR) >= 2


def test_rows_of_weight_zero_do_not_move_the_proxies(two_lines):
    X, y, _ = two_lines(200)
    junk = np.random.default_rng(1).uniform(-1, 1, (300, 2))
    one, ranking, _ = proxy_responsibilities(X, y[:, None], np.ones(200), GATE, 2, seed=0)
    both = np.vstack([X, junk]), np.r_[y, 50 * junk[:, 0]][:, None]
    other, again, _ = proxy_responsibilities(*both, np.repeat([1.0, 0.0], [200, 300]), GATE, 2, seed=0)
    np.testing.assert_allclose(other[:200], one, atol=1e-6)
    assert again[0]["score"] == pytest.approx(ranking[0]["score"])


def test_a_smooth_function_of_many_rows_is_one_regime():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (900, 3))
    y = 3 * np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(900)
    assert _found(X, y).shape == (900, 1)


def test_a_plane_with_noise_is_one_regime():
    counts = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(320, 3))
        counts.append(_found(X, X[:, 0] + rng.normal(size=320), seed=seed).shape[1])
    assert counts == [1, 1, 1]


@pytest.mark.parametrize(("n", "counted", "searches"), [(200, True, 4), (200, False, 1), (400, True, 1)])
def test_few_rows_are_held_out_in_turn_to_count_only(n, counted, searches):
    X = np.random.default_rng(0).normal(size=(n, 2))
    rows = ProxyColumns(X, np.random.default_rng(0), None, LINEAR)(X, X[:, :1], np.ones(n))
    found = _searches(rows, GATE, np.random.default_rng(0), None, counted=counted)
    assert len(found) == searches
    held = np.concatenate([one.held_rows for one in found])
    assert len(held) == len(set(held)) == searches * n // 4


@pytest.mark.parametrize(
    ("n", "law", "capacity", "K"),
    [
        (60, lambda X: np.where(X[:, 0] < 0.2, -3.0, 5.0), FREE, 2),
        (320, lambda X: np.abs(X).sum(axis=1), LINEAR, 4),
        (150, lambda X: (X**2).sum(axis=1) + np.where((X > 0).all(axis=1), 5, -5), FREE, 2),
        (320, lambda X: 1 + X @ [2.0, -1.0], FREE, 1),
    ],
    ids=["step", "four planes", "corner", "plane"],
)
def test_regimes_without_noise_are_counted(n, law, capacity, K):
    X = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    found = proxy_responsibilities(X, law(X)[:, None], np.ones(n), GATE, None, 0, capacities=(capacity, LINEAR))
    assert prune(found.responsibilities, np.ones(n)).shape[1] == K
    if K == 1:
        numbers = {row["start"] for row in found.ranking if row["start"].startswith("proxy")}
        assert numbers == {"proxy, 2 regimes", "proxy, 3 regimes"}, "counting ends after two that lower no loss"
    else:
        assert found.capacity == capacity


def test_noise_that_grows_is_no_second_regime_unless_densities_are_asked_for():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (900, 3))
    y = X[:, 0] + np.exp(X[:, 1]) * rng.standard_normal(900)
    assert _found(X, y, max_regimes=3).shape == (900, 1)
    assert _found(X, y, max_regimes=3, by_error=False).shape[1] > 1


def test_regimes_of_classes_are_found(agreement):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 4))
    regime = (X[:, 0] > 0.2).astype(int)
    logit = np.where(regime, 4 * X[:, 1], -4 * X[:, 1] + 2 * X[:, 2])
    labels = np.eye(2)[(logit + 0.3 * rng.logistic(size=1500) > 0).astype(int)]
    assert agreement(_found(X, labels, 2, n_classes=2), regime) > 0.95


def test_other_starts_are_ranked_with_the_random_ones(two_lines, agreement):
    X, y, regime = two_lines(320)

    def given(K, rows):
        return {"truth": np.eye(K)[regime[rows]], "even": np.full((len(rows), K), 1 / K)}

    found, ranking, _ = proxy_responsibilities(X, y[:, None], np.ones(320), GATE, 2, 0, given)
    scores = {row["start"]: row["score"] for row in ranking}
    trees = {"model tree with lines, 2 regimes", "model tree with curves, 2 regimes"}
    assert {"truth", "even", "proxy, 2 regimes"} <= set(scores)
    assert trees <= set(scores)
    assert scores["truth"] < scores["even"]
    assert agreement(found, regime) > 0.9
