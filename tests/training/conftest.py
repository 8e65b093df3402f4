"""Data that several tests of training use; fixtures return functions."""

import numpy as np
import pytest

from metamix.data.folds import make_folds
from metamix.data.gate_features import GateFeatures
from metamix.engines import SerialEngine
from metamix.fitting import FitSession, NamedExpert, prepare
from metamix.gates import ConstantGate, SoftmaxGate
from metamix.likelihoods import Gaussian
from metamix.training.alternation import MixtureSettings
from metamix.training.regime_search import SearchSettings


def _two_lines(n=160, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    regime = (X[:, 0] > 0).astype(int)
    return X, np.where(regime, 4 * X[:, 1], -4 * X[:, 1]) + noise * rng.standard_normal(n), regime


def _agreement(found, regime):
    hard = found.argmax(axis=1)
    return max(np.mean(hard == regime), np.mean(hard != regime))


def _open_session(problem, *estimators, cv=3, **more):
    experts = [NamedExpert(f"e{i}", prepare(one, i)) for i, one in enumerate(estimators)]
    folds = make_folds(cv, problem.X, problem.y, problem.groups, random_state=0)
    return FitSession(experts, problem, folds, SerialEngine(), **more)


def _mixture_settings(problem, n_pool, gate=None, *, n_experts=None, start="uniform", rounds=6, **more):
    features = GateFeatures("x").fit(problem.X)
    gate = SoftmaxGate() if gate is None else gate
    search = SearchSettings(start, n_experts, n_pool, False, 0, features, SoftmaxGate(penalty=0.01, max_iter=50))
    return MixtureSettings((gate,), ConstantGate(), False, Gaussian(), features, search, rounds, **more)


@pytest.fixture(scope="session")
def two_lines():
    """X (n, 2), y (n,) and the regime (n,) of each row: two lines in the second column that cross at x_0 = 0."""
    return _two_lines


@pytest.fixture(scope="session")
def agreement():
    """The share of rows whose largest responsibility is that of the planted regime, up to the order of regimes."""
    return _agreement


@pytest.fixture(scope="session")
def open_session():
    """A serial session of some estimators, which are called e0, e1, …"""
    return _open_session


@pytest.fixture(scope="session")
def mixture_settings():
    """Settings of a mixture with a Gaussian likelihood and one gate."""
    return _mixture_settings
