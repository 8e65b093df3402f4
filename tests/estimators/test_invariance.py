"""What must not matter: units, the order of experts, engines and jobs."""

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, use_engine
from metamix.gates import SoftmaxGate

TREE = DecisionTreeRegressor(max_depth=3, random_state=0)
FAST = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1)}


def settings(specialize, **parameters):
    regimes = {"start": "kmeans", "max_rounds": 1} if specialize is not False else {}
    regimes |= {"n_experts": 2} if specialize == "auto" else {}
    return {**FAST, "specialize": specialize, **regimes, **parameters}


def table(n=150):
    return make_regimes(n, 4, random_state=2)


def lines(n=150):
    """Two lines for two halves of the table: linear experts under a gate see it all."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


# --- units and order -----------------------------------------------------------------------------------


UNITS = {"x 1e6": (1e6, 0, 1, 0), "x 1e-6": (1e-6, 0, 1, 0), "x shifted": (1, 10, 1, 0), "y 1e6": (1, 0, 1e6, 0),
         "y 1e-6": (1, 0, 1e-6, 0), "y shifted": (1, 0, 1, 10)}  # fmt: skip


@pytest.mark.parametrize(
    ("specialize", "unit"),
    [*((specialize, unit) for specialize in (False, True) for unit in UNITS), ("auto", "x 1e6"), ("auto", "y 1e-6")],
)
def test_units_do_not_matter(specialize, unit):
    (a, b, c, d), (X, y) = UNITS[unit], lines()
    pool = [
        ("line", LinearRegression()),
        ("level", make_pipeline(FunctionTransformer(np.zeros_like), LinearRegression())),
    ]
    parameters = settings(specialize)
    here = MixtureRegressor(pool, **parameters).fit(X, y)
    there = MixtureRegressor(pool, **parameters).fit(a * X + b, c * y + d * y.std())
    np.testing.assert_allclose(
        (there.predict(a * X + b) - d * y.std()) / c, here.predict(X), rtol=1e-6, atol=1e-6 * y.std()
    )
    np.testing.assert_allclose(there.gate_weights(a * X + b), here.gate_weights(X), atol=1e-5)
    assert there.n_experts_ == here.n_experts_
    if specialize is not True:
        assert there.verdict_.winner == here.verdict_.winner
    deviation = [one.predict(rows, return_std=True)[1] for one, rows in ((here, X), (there, a * X + b))]
    np.testing.assert_allclose(deviation[1] / c, deviation[0], rtol=1e-5)


def test_regimes_are_found_in_any_unit():
    X, y = lines(120)
    found = [
        MixtureRegressor([("line", LinearRegression()), ("tree", TREE)], **FAST).fit(u * X, v * y)
        for u, v in ((1, 1), (1e6, 1e-6))
    ]
    assert len({one.n_experts_ for one in found}) == 1
    assert len({one.verdict_.winner for one in found}) == 1
    np.testing.assert_allclose(found[1].predict(1e6 * X) / 1e-6, found[0].predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gate", [SoftmaxGate(penalty=0.01), "constant", "gmm"], ids=str)
def test_experts_permuted_are_weights_permuted(gate, half_classifiers, half_experts):
    parameters = settings(False, gate=gate, cv=3)
    X, y = lines()
    classes = [*half_classifiers, ("near", LogisticRegression())]
    numbers = [*half_experts, ("ridge", Ridge())]
    for kind, pool, target, more in (
        (MixtureClassifier, classes, (X[:, 0] > 0) == (X[:, 1] > 0), ["stack", "mean"]),
        (MixtureRegressor, numbers, y, ["stack", "feature-weighted stack", "mean"]),
    ):
        one = kind(pool, **parameters).fit(X, target)
        other = kind([pool[2], pool[0], pool[1]], **parameters).fit(X, target)
        assert list(other.named_experts_) == [pool[2][0], pool[0][0], pool[1][0], *more]
        order = [1, 2, 0, *range(3, 3 + len(more))]
        weights, predict = one.gate_weights(X), "predict_proba" if kind is MixtureClassifier else "predict"
        varies = np.ptp(weights, axis=0).max()
        if gate == "constant":
            assert varies < 1e-12
        elif kind is MixtureClassifier:
            assert varies > 0.2
        np.testing.assert_allclose(other.gate_weights(X)[:, order], weights, atol=2e-3)
        scale = 1 if kind is MixtureClassifier else target.std()
        np.testing.assert_allclose(getattr(other, predict)(X), getattr(one, predict)(X), atol=2e-3 * scale)
        assert other.verdict_.winner == one.verdict_.winner


# --- the same bits --------------------------------------------------------------------------------------


def _unseeded(n_jobs=None, specialize="auto"):
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_features=2)), ("near", KNeighborsRegressor(5))]
    return MixtureRegressor(pool, n_jobs=n_jobs, **settings(specialize, random_state=5))


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_the_same_seed_is_the_same_to_the_last_bit(specialize):
    X, y = table(90)
    first = _unseeded(1, specialize).fit(X, y)
    with use_engine("threads", n_jobs=2):
        threads = _unseeded(None, specialize).fit(X, y)
    with use_engine("serial"):
        serial = _unseeded(2, specialize).fit(X, y)
    for other in (threads, serial):
        np.testing.assert_array_equal(other.predict(X), first.predict(X))
        np.testing.assert_array_equal(other.oof_predictions_, first.oof_predictions_)
        np.testing.assert_array_equal(other.gate_weights(X), first.gate_weights(X))


def test_the_seed_matters():
    X, y = table(90)
    found = [_unseeded(1, False).set_params(random_state=seed).fit(X, y).predict_experts(X) for seed in (5, 6, 5)]
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_processes_give_the_same_bits():
    X, y = table(90)
    first = _unseeded(1, False).fit(X, y)
    processes = _unseeded(2, False).fit(X, y)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        configured = _unseeded(None, False).fit(X, y)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threading = _unseeded(None, False).fit(X, y)
    for other in (processes, configured, threading):
        np.testing.assert_array_equal(other.predict(X), first.predict(X))


def test_a_random_state_object_is_drawn_from():
    X, y = table(90)
    one = _unseeded(1, False).set_params(random_state=np.random.RandomState(5)).fit(X, y)
    np.testing.assert_array_equal(one.predict(X), _unseeded(1, False).fit(X, y).predict(X))
