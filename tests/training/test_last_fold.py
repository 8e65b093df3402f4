"""When the last fold of a time order is said to be predicted worse than the earlier ones."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, TimeSeriesSplit

from metamix import MixtureRegressor, compare
from metamix.data.folds import Folds, make_folds
from metamix.training.last_fold import worse_last_fold
from metamix.training.selection import HeldOutLoss

N = 600


def series(k=5, scoring=None, splitter=TimeSeriesSplit):
    folds = Folds(N, tuple(splitter(k).split(np.zeros(N))))
    return folds, HeldOutLoss(np.zeros(N), np.ones(N), folds.partition, scoring=scoring)


def test_only_folds_in_time_order_have_a_last_one():
    X, y = np.zeros((30, 1)), np.arange(30.0)
    assert make_folds(TimeSeriesSplit(4), X, y).forward
    assert make_folds(TimeSeriesSplit(4, gap=2), X, y).forward
    assert make_folds([(range(10), range(10, 15)), (range(10), range(20, 30))], X, y).forward
    given = [(range(10, 20), range(20, 25)), (range(10, 25), range(25, 30))]
    assert make_folds(given, X, y).forward
    empty = Folds(30, ((np.empty(0, dtype=int), np.arange(10)), (np.arange(10), np.arange(10, 30))))
    assert empty.forward, "of predictions that were handed in"
    for cv in (3, KFold(3), [(range(10), range(10, 30))], [(range(20), range(20, 30)), (range(10), range(10, 20))]):
        assert not make_folds(cv, X, y).forward
    folds, loss = series(splitter=KFold)
    assert not worse_last_fold(loss, np.where(folds.partition == 4, 9.0, 1.0), folds)


@pytest.mark.parametrize(("rho", "most"), [(0.0, 0.05), (0.8, 0.1)])
def test_noise_is_rarely_called_a_change(rho, most):
    folds, loss = series()
    rng = np.random.default_rng(1)
    said = 0
    for _ in range(400):
        errors = rng.normal(size=N)
        for i in range(1, N):
            errors[i] = rho * errors[i - 1] + np.sqrt(1 - rho**2) * errors[i]
        said += bool(worse_last_fold(loss, errors**2, folds))
    assert said / 400 <= most  # 1.75 standard errors on one side of a normal distribution: 0.040


def test_a_change_is_found_and_a_better_last_fold_is_none():
    folds, loss = series()
    rng = np.random.default_rng(2)
    errors = rng.normal(size=N)
    worse, better = errors.copy(), errors.copy()
    worse[500:] *= 2
    better[500:] /= 2
    text = worse_last_fold(loss, worse**2, folds)
    assert f"squared error {np.mean(worse[500:] ** 2):.4g}" in text
    assert f"squared error {np.mean(worse[100:500] ** 2):.4g}" in text
    assert not worse_last_fold(loss, better**2, folds)


def test_a_scorer_judges_folds():
    folds, loss = series(scoring="r2")
    assert not worse_last_fold(loss, np.array([-0.9, -0.88, -0.91, -0.9, -0.9]), folds)
    assert "r2 0.2, before that r2 0.8975" in worse_last_fold(loss, np.array([-0.9, -0.88, -0.91, -0.9, -0.2]), folds)
    folds, loss = series(2, "r2")
    assert not worse_last_fold(loss, np.array([-0.9, -0.1]), folds)


def test_the_verdicts_say_so():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=300)
    changed = np.where(np.arange(300) < 250, y, -2 * X[:, 1])
    experts = [LinearRegression(), "neighbours"]
    mixture = MixtureRegressor(experts, specialize=False, gate="constant", cv=TimeSeriesSplit(5), random_state=0)
    assert not mixture.fit(X, y).verdict_.last_fold
    assert "The last fold is predicted worse" in str(mixture.fit(X, changed).verdict_)
    assert "The last fold is predicted worse" not in str(mixture.set_params(cv=5).fit(X, changed).verdict_)
    assert "The last fold is predicted worse" in compare(X, changed, experts, cv=TimeSeriesSplit(3)).verdict
