"""Initial responsibilities by name, by the user, and pruned; planted clusters are found."""

import numpy as np
import pytest
from scipy import sparse

from metamix.data.gate_features import GateFeatures
from metamix.fitting import Problem
from metamix.gates import SoftmaxGate
from metamix.training.regime_search import (
    SearchSettings,
    fewest_rows,
    from_user,
    initial_responsibilities,
    make_start,
    prune,
)
from metamix.training.regime_search.initial import NAMES
from metamix.training.regime_search.proxy_models import LINEAR


def _settings(X, start="auto", n_experts="auto", n_pool=1, alike=False, **more):
    gate = SoftmaxGate(penalty=0.01, max_iter=50, tol=1e-3)
    return SearchSettings(start, n_experts, n_pool, alike, 0, GateFeatures("x").fit(X), gate, **more)


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_named_starts_are_distributions_whatever_the_units(name, K, two_lines):
    X, y, _ = two_lines(60)
    start = make_start(name, X, y, K, seed=1)
    assert start.shape == (60, K)
    np.testing.assert_allclose(start.sum(axis=1), 1)
    assert (start > 0).all(), "every component has a share of every row"
    np.testing.assert_allclose(make_start(name, 1e6 * X + 5e6, 1e-6 * y - 1, K, seed=1), start, atol=1e-5)
    np.testing.assert_array_equal(make_start(name, X, y, K, seed=1), start)


def test_clusters_of_x_and_of_x_with_y_are_found(agreement):
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 40)
    X = rng.standard_normal((80, 2)) + 8 * groups[:, None]
    for name in ("kmeans", "gmm"):
        assert agreement(make_start(name, X, rng.standard_normal(80), 2, seed=0), groups) == 1
    y = 9.0 * rng.permutation(groups)
    same = X[groups == 0].repeat(2, axis=0)
    assert agreement(make_start("joint_gmm", same, y, 2, seed=0), (y > 0).astype(int)) == 1
    assert agreement(make_start("gmm", same, y, 2, seed=0), (y > 0).astype(int)) < 0.8


def test_rows_without_weight_do_not_shape_clusters():
    X = np.array([[0.0], [0.1], [5.0], [5.1], [900.0]])
    start = make_start("kmeans", X, np.zeros(5), 2, 0, np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(start.argmax(axis=1)[:4] == start[0].argmax(), [True, True, False, False])


def test_sparse_columns_have_the_clusters_of_dense_ones():
    X = np.random.default_rng(0).standard_normal((50, 3)) + np.repeat([0, 9], 25)[:, None]
    dense = make_start("kmeans", X, np.zeros(50), 2, 0).argmax(axis=1)
    found = make_start("kmeans", sparse.csr_matrix(X), np.zeros(50), 2, 0).argmax(axis=1)
    assert np.array_equal(found, dense) or np.array_equal(found, 1 - dense)


def test_more_clusters_than_rows_is_no_error():
    start = make_start("kmeans", np.array([[0.0], [1.0]]), np.zeros(2), 4, seed=0)
    np.testing.assert_allclose(start.sum(axis=1), [1, 1])
    assert start[0].argmax() != start[1].argmax()


def test_the_users_start():
    np.testing.assert_array_equal(from_user([2, 1, 2], 3, 2), [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_allclose(from_user([[3, 1], [0, 2]], 2, 2), [[0.75, 0.25], [0, 1]])


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ([0, 1], "2 rows, X has 3"),
        ([0, 0, 0], "1 different labels.*2 experts"),
        (np.ones((3, 3)), r"\(3, 3\)"),
        ([[1, -1], [1, 0], [1, 0]], "non-negative"),
        ([[0, 0], [1, 0], [1, 0]], "positive sum"),
        ([[np.nan, 1], [1, 0], [1, 0]], "finite"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, text):
    with pytest.raises(ValueError, match=text):
        from_user(start, 3, 2)


def test_an_unknown_start_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"kmeans.*proxy.*auto"):
        make_start("k-means", np.zeros((3, 1)), np.zeros(3), 2, seed=0)


def test_regimes_with_too_few_rows_are_pruned():
    share = np.column_stack([np.full(100, 0.6), np.full(100, 0.37), np.full(100, 0.03)])
    np.testing.assert_allclose(prune(share, np.ones(100)), share[:, :2] / 0.97)
    assert prune(np.full((5, 3), 1 / 3), np.ones(5)).shape == (5, 1)
    lonely = np.eye(2)[np.r_[np.zeros(99, int), 1]]
    np.testing.assert_array_equal(prune(lonely, np.ones(100)), np.ones((100, 1)))
    counts = np.where(np.arange(100) < 50, 1.0, 0.0)
    half = np.eye(2)[(np.arange(100) >= 47).astype(int)]
    assert prune(half, counts).shape == (100, 1), "rows without weight do not count"
    assert prune(half, np.ones(100)).shape == (100, 2)


def test_fewest_rows_is_a_tenth_from_three_to_ten():
    assert [fewest_rows(n) for n in (5, 30, 70, 100, 9999)] == [3, 3, 7, 10, 10]


def test_a_named_start_is_taken_and_proxies_only_count(two_lines):
    X, y, _ = two_lines(320)
    problem = Problem(X, y)
    found, ranking, _ = initial_responsibilities(problem, _settings(X, start="kmeans", max_regimes=2))
    np.testing.assert_array_equal(found, make_start("kmeans", X, y, 2, 0, np.ones(320)))
    assert ranking[-1]["start"] == "kmeans"
    assert len(ranking) > 1
    found, ranking, _ = initial_responsibilities(problem, _settings(X, start="kmeans", n_experts=3))
    np.testing.assert_array_equal(found, make_start("kmeans", X, y, 3, 0, np.ones(320)))
    assert len(ranking) == 1, "nothing is counted"


def test_different_experts_start_uniform_where_there_are_no_regimes(two_lines, agreement):
    X, y, regime = two_lines(320)
    line = Problem(X, X @ [1.0, 2.0] + 0.3 * np.random.default_rng(0).standard_normal(320))
    found, *_ = initial_responsibilities(line, _settings(X, n_experts=None, n_pool=2))
    np.testing.assert_array_equal(found, np.full((320, 2), 0.5))
    found, *_ = initial_responsibilities(Problem(X, y), _settings(X, n_experts=None, n_pool=2))
    assert agreement(found, regime) > 0.9


def test_max_regimes_ends_the_count():
    x = np.random.default_rng(0).uniform(0, 1, (320, 1))
    y = np.choose((4 * x[:, 0]).astype(int), [0.0, 9.0, -4.0, 5.0])
    found, *_ = initial_responsibilities(Problem(x, y), _settings(x, max_regimes=3, capacities=(LINEAR,)))
    assert found.shape == (320, 3)
    found, *_ = initial_responsibilities(Problem(x, y), _settings(x, max_regimes=6, capacities=(LINEAR,)))
    assert prune(found, np.ones(320)).shape == (320, 4)


def test_a_start_of_the_users_is_sliced_with_the_rows():
    X = np.zeros((4, 1))
    settings = _settings(X, start=np.array([[1, 0], [0, 1], [1, 0], [0, 1]]), n_experts=2)
    found, *_ = initial_responsibilities(Problem(X[:2], np.zeros(2)), settings.take(np.array([1, 2])))
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])
    assert not settings.searches
    assert not settings.uses_proxies
