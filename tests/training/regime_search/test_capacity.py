"""The capacity of proxy models is that of the experts they stand for."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from metamix.data.folds import make_folds
from metamix.fitting import Problem
from metamix.training.regime_search import capacity_of
from metamix.training.regime_search.proxy_models import FREE, LINEAR, QUADRATIC


def _quadratic():
    return make_pipeline(PolynomialFeatures(2), Ridge(1e-6))


@pytest.mark.parametrize(
    ("expert", "law", "capacity"),
    [
        (Ridge(1e-6), np.abs, LINEAR),
        (Ridge(1e-6), np.square, LINEAR),
        (Ridge(1e-6), np.negative, LINEAR),  # every proxy loses as much, and the straight one errs as the expert does
        (_quadratic(), np.square, QUADRATIC),
        (_quadratic(), lambda x: np.sin(3 * x), QUADRATIC),
        (KNeighborsRegressor(10), lambda x: np.sin(3 * x), FREE),
    ],
)
def test_proxies_bend_as_far_as_the_expert_does(expert, law, capacity):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (200, 1))
    y = law(X[:, 0]) + 0.05 * rng.normal(size=200)
    folds = make_folds(5, X, y, random_state=0)
    losses = np.square(y - cross_val_predict(expert, X, y, cv=list(folds.pairs)))
    assert capacity_of(X, Problem(X, y), folds, np.arange(200), losses, seed=0) == capacity
    assert capacity_of(X, Problem(X, y), folds, np.arange(60), losses[:60], seed=0) == capacity, "from some rows"
    scaled = Problem(1e6 * X, 1e-6 * y)
    assert capacity_of(1e6 * X, scaled, folds, np.arange(200), 1e-12 * losses, seed=0) == capacity


def test_logistic_proxies_bend_as_far_as_the_expert_does():
    """A ring: a plane cannot tell it from what it surrounds, its squares can."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = (np.square(X).sum(axis=1) > 1.5).astype(int)
    folds = make_folds(5, X, y, stratify=True, random_state=0)
    found = []
    for expert in (LogisticRegression(), RandomForestClassifier(50, random_state=0)):
        given = cross_val_predict(expert, X, y, cv=list(folds.pairs), method="predict_proba")
        losses = -np.log(np.clip(given[np.arange(400), y], 1e-6, 1))
        found.append(capacity_of(X, Problem(X, y, n_classes=2), folds, np.arange(400), losses, seed=0))
    assert found[0] == LINEAR
    assert found[1] > LINEAR


def test_without_held_out_rows_proxies_bend_freely():
    X, y = np.arange(20.0)[:, None], np.arange(20.0)
    problem = Problem(X, y, np.zeros(20))
    with np.errstate(invalid="ignore"):
        assert capacity_of(X, problem, make_folds(2, X, y), np.arange(20), np.ones(20), seed=0) == FREE
