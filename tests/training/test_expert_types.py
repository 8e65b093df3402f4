"""Types of experts for regimes: planted laws, all assignments, and scikit-learn's cross-validated losses."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from metamix.fitting import AllExpertsFailedError, Problem
from metamix.training.expert_types import best_single, choose_types


@pytest.fixture(scope="module")
def planted():
    """A line and a step function, each in rows of its own, and responsibilities that nearly know which."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    regime = rng.integers(2, size=200)
    y = np.where(regime, 3 * X[:, 0], np.sign(np.sin(9 * X[:, 0])))
    return Problem(X, y), np.where(np.eye(2)[regime] == 1, 0.99, 0.01)


def test_each_regime_takes_the_type_that_fits_it(planted, open_session):
    problem, share = planted
    tree = DecisionTreeRegressor(random_state=0)
    with open_session(problem, LinearRegression(), tree, negligible=0.05) as session:
        assert choose_types(session, share) == ([1, 0], [])
        assert choose_types(session, share[:, ::-1])[0] == [0, 1]
        assert choose_types(session, share, each_once=True)[0] == [1, 0]
        assert choose_types(session, share[:, ::-1], each_once=True)[0] == [0, 1]
    with open_session(problem, Ridge()) as session:
        assert choose_types(session, share)[0] == [0, 0], "one expert may serve several regimes"


def test_each_once_is_the_best_of_all_assignments(planted, open_session):
    problem, _ = planted
    responsibilities = np.random.default_rng(1).dirichlet([0.3, 0.3, 0.3], 200)
    pool = [LinearRegression(), DecisionTreeRegressor(max_depth=3, random_state=0), KNeighborsRegressor(5)]
    with open_session(problem, *pool[:2], Ridge(100.0)) as session:
        found, _ = choose_types(session, responsibilities, each_once=True)
        folds = session.folds.pairs
    losses = np.zeros((3, 3))
    for k, (e, one) in itertools.product(range(3), enumerate([*pool[:2], Ridge(100.0)])):
        for train, test in folds:
            model = one.fit(problem.X[train], problem.y[train], sample_weight=responsibilities[train, k])
            error = np.square(problem.y[test] - model.predict(problem.X[test]))
            losses[k, e] += responsibilities[test, k] @ error
    assert found == list(min(itertools.permutations(range(3)), key=lambda order: losses[range(3), order].sum()))


def test_the_best_single_expert_is_that_of_cross_validation(planted, open_session):
    problem, _ = planted
    pool = [LinearRegression(), KNeighborsRegressor(5), DecisionTreeRegressor(max_depth=2, random_state=0)]
    with open_session(problem, *pool) as session:
        expert, losses, rows = best_single(session)
        folds = list(session.folds.pairs)
    expected = [np.square(problem.y - cross_val_predict(one, problem.X, problem.y, cv=folds))[rows] for one in pool]
    assert expert == int(np.argmin([one.mean() for one in expected]))
    np.testing.assert_allclose(losses, expected[expert])
    assert 60 <= len(rows) < 200, "as few folds as hold out enough rows"


def test_an_expert_that_fails_is_not_chosen(planted, open_session):
    problem, share = planted
    with open_session(problem, KNeighborsRegressor(500), LinearRegression()) as session:
        chosen, failures = choose_types(session, share)
    assert chosen == [1, 1]
    assert {failure.expert for failure in failures} == {"e0"}
    with (
        open_session(problem, KNeighborsRegressor(500), KNeighborsRegressor(600)) as session,
        pytest.raises(AllExpertsFailedError, match="e0"),
    ):
        choose_types(session, share)
