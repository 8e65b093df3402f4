"""A number of regimes that was told is kept, or a warning says what was lost."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate

FAST = {"gate": SoftmaxGate(penalty=0.1), "cv": 2, "random_state": 0, "max_rounds": 2}
LINE = [("line", LinearRegression())]


def uneven(n=60):
    """Rows of two regimes, and a start that gives a third one five rows."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 2))
    start = np.where(np.arange(n) < 3, 2, (X[:, 0] > 0).astype(int))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]), start


@pytest.mark.parametrize("specialize", [True, "auto"])
@pytest.mark.parametrize("refit", [True, False])
def test_a_regime_that_is_given_up_is_told(specialize, refit):
    X, y, start = uneven()
    mixture = MixtureRegressor(LINE, n_experts=3, start=start, specialize=specialize, refit=refit, **FAST)
    with pytest.warns(UserWarning, match=r"n_experts=3, but 2 regimes are left.*fewer than 6 of 60"):
        mixture.fit(X, y)
    assert mixture.n_experts_ == 2


def test_a_regime_of_classes_that_is_given_up_is_told():
    X, y, start = uneven()
    mixture = MixtureClassifier([("l", LogisticRegression())], n_experts=3, start=start, specialize=True, **FAST)
    with pytest.warns(UserWarning, match="n_experts=3, but 2 regimes are left"):
        mixture.fit(X, y > 0.5)


@pytest.mark.parametrize("n_experts", [2, "auto", None])
def test_nothing_is_told_where_nothing_is_lost(n_experts):
    X, y, _ = uneven()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mixture = MixtureRegressor(LINE, n_experts=n_experts, start="kmeans", specialize=True, **FAST).fit(X, y)
    assert n_experts != 2 or mixture.n_experts_ == 2
