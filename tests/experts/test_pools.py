"""Pools of experts: what they take, what they do without, and what they say."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

from metamix import MixtureClassifier, MixtureRegressor, registry
from metamix.experts.pools import BOOSTED, POOLS, expert_pool, loadable


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("classes", [False, True])
def test_every_expert_of_a_pool_is_registered(name, classes):
    experts = expert_pool(name, classes=classes)
    assert set(experts) <= set(registry.classifiers if classes else registry.regressors)
    assert len(set(experts)) == len(experts)


def test_pools_are_parameters():
    assert MixtureRegressor()._given_experts() == expert_pool("auto", classes=False)
    mixture = clone(MixtureClassifier("fast"))
    assert mixture.get_params()["experts"] == "fast"
    assert set(mixture.get_params()) - set(MixtureClassifier().get_params()) == set(expert_pool("fast", classes=True))
    assert mixture.set_params(logistic="drop").experts[0] == ("logistic", "drop")
    with pytest.raises(ValueError, match=r"experts='ridge' is not a list, and no pool; give \['ridge'\]"):
        MixtureRegressor("ridge").fit([[1.0], [2.0]], [1.0, 2.0])


def test_without_libraries_of_boosted_trees(monkeypatch):
    monkeypatch.setattr("metamix.experts.pools.find_spec", lambda name: None)
    assert expert_pool("auto", classes=False) == ["ridge", "splines", "kriging", "extra_trees", "boosting"]


def test_a_library_that_cannot_be_loaded_is_left_out_aloud(monkeypatch):
    for name in BOOSTED:
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ImportError
    with pytest.warns(UserWarning, match=r"of the pool is left out") as said:
        assert loadable(["ridge", *BOOSTED], registry.regressors) == ["ridge", "boosting"]
    assert [f"pip install metamix[{name}]" in str(one.message) for name, one in zip(BOOSTED, said, strict=True)]


@pytest.mark.slow
def test_a_fast_pool_is_no_worse_than_its_boosted_trees():
    X, y = load_diabetes(return_X_y=True)
    X, X_new, y, y_new = train_test_split(X, y, random_state=0)
    error = ((MixtureRegressor("fast", random_state=0).fit(X, y).predict(X_new) - y_new) ** 2).mean()
    assert error < ((HistGradientBoostingRegressor(random_state=0).fit(X, y).predict(X_new) - y_new) ** 2).mean()
    assert np.isfinite(error)
