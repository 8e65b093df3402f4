"""Every gate by name at work in mixtures, whatever it looks at; and mixtures of mixtures."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

GATES = ("constant", "softmax", "gmm", "neighbours", "tree", "forest", "boosting")
LOOKS = {
    "x": "x",
    "predictions": "predictions",
    "both": "both",
    "columns": [1, 0],
    "transformer": make_pipeline(StandardScaler(), PCA(2)),
}
NUMBERS = make_regimes(150, n_features=3, random_state=0)
CLASSES = make_regimes(150, n_features=3, task="classification", random_state=0)
# Boosting and forests take a second for each fit: they are tried with less to look at.
PAIRS = [(gate, look) for gate in GATES[:-2] for look in LOOKS] + [("forest", "both"), ("boosting", "both")]
FEW = [(gate, look) for gate, look in PAIRS if look in ("predictions", "both")]
REGRESSORS = [("flat", Ridge(1e3)), ("plane", Ridge())]
CLASSIFIERS = [("flat", LogisticRegression(C=1e-3)), ("plane", LogisticRegression())]


def check_answers(mixture, X, K):
    weights = mixture.gate_weights(X)
    assert weights.shape == (len(X), K)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1.0)


@pytest.mark.parametrize(("gate", "look"), PAIRS)
@pytest.mark.parametrize("specialize", [True, False])
def test_every_gate_in_a_regressor(gate, look, specialize):
    X, y = NUMBERS
    mixture = MixtureRegressor(
        REGRESSORS, gate=gate, gate_features=LOOKS[look], specialize=specialize, cv=3, max_rounds=2, start="uniform",
        on_error="raise", random_state=0,
    ).fit(X, y)  # fmt: skip
    check_answers(mixture, X, len(mixture.experts_))
    assert np.mean((mixture.predict(X) - y) ** 2) < y.var()


@pytest.mark.parametrize(("gate", "look"), FEW)
@pytest.mark.parametrize("specialize", [True, False])
def test_every_gate_in_a_classifier(gate, look, specialize):
    X, y = CLASSES
    mixture = MixtureClassifier(
        CLASSIFIERS, gate=gate, gate_features=LOOKS[look], specialize=specialize, cv=3, max_rounds=2, start="uniform",
        on_error="raise", random_state=0,
    ).fit(X, y)  # fmt: skip
    check_answers(mixture, X, len(mixture.experts_))
    assert np.allclose(mixture.predict_proba(X).sum(axis=1), 1.0)
    assert mixture.score(X, y) >= max(y.mean(), 1 - y.mean())


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "look"), list(zip(GATES[1:], [*LOOKS, "x"], strict=True)))
def test_every_gate_in_the_honest_table(gate, look):
    settings = {"gate": gate, "gate_features": LOOKS[look], "cv": 3, "max_rounds": 2, "n_experts": 2}
    settings |= {"start": "kmeans", "on_error": "raise", "random_state": 0}
    for kind, experts, (X, y) in ((MixtureRegressor, REGRESSORS, NUMBERS), (MixtureClassifier, CLASSIFIERS, CLASSES)):
        mixture = kind(experts, **settings).fit(X, y)
        assert list(mixture.named_experts_) == ["flat", "plane", "mixture", "stack"]
        check_answers(mixture, X, 4)


@pytest.mark.parametrize("gate", ["neighbours", "tree", "boosting"])
def test_who_is_good_where_is_found_by_gates_that_look_around(gate):
    """Two experts, each right inside or outside of a ring: no linear gate can tell."""
    X = np.random.default_rng(0).uniform(-1, 1, (900, 2))
    inside = (X**2).sum(axis=1) < 0.6
    y = np.where(inside, X[:, 0], 5 - X[:, 0])
    mixture = MixtureRegressor(
        [("in", Ridge()), ("out", Ridge())], gate=gate, start=inside[:600].astype(int), specialize=True, cv=3,
        max_rounds=2, random_state=0,
    )  # fmt: skip
    leader = mixture.fit(X[:600], y[:600]).assign(X[600:])
    assert adjusted_rand_score(inside[600:], leader) > 0.7
    linear = clone(mixture).set_params(gate=SoftmaxGate(penalty=0.01)).fit(X[:600], y[:600])
    assert adjusted_rand_score(inside[600:], linear.assign(X[600:])) < 0.2


def test_dynamic_selection_is_neighbours_with_one_expert_per_row():
    X = np.random.default_rng(0).uniform(-2, 2, (500, 1))
    y = np.sin(3 * X[:, 0])
    experts = [("stump", DecisionTreeRegressor(max_depth=2)), ("line", LinearRegression())]
    settings = {"specialize": False, "top_k": 1, "cv": 4, "random_state": 0}
    selection = MixtureRegressor(experts, gate="neighbours", **settings).fit(X, y)
    weights = selection.gate_weights(X)
    assert set(np.unique(weights)) <= {0.0, 1.0}
    answers = selection.predict_experts(X)
    assert np.allclose(selection.predict(X), answers[np.arange(500), weights.argmax(axis=1)])


# -- hierarchies


def two_levels(n, seed):
    """x0 says which half holds; within each, x1 says which of two planes. Four planes, no two alike."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 4))
    branch, leaf = (X[:, 0] > 0).astype(int), (X[:, 1] > np.where(X[:, 0] > 0, 0.3, -0.3)).astype(int)
    planes = np.array([[[3.0, 0.0], [-3.0, 1.0]], [[0.0, 3.0], [1.0, -3.0]]])
    y = 10 * branch + (X[:, 2:] * planes[branch, leaf]).sum(axis=1) + 0.05 * rng.standard_normal(n)
    return X, y, branch, leaf


def inner(**settings):
    planes = [("one", Ridge(1e-3)), ("two", Ridge(1e-3))]
    return MixtureRegressor(planes, **{"specialize": True, "cv": 3, "max_rounds": 4} | settings)


def test_a_mixture_of_mixtures_finds_both_levels():
    X, y, branch, leaf = two_levels(1200, seed=0)
    train, test = np.arange(800), np.arange(800, 1200)
    start = (y[train] > 5).astype(int)  # what anybody sees in a histogram of y; the leaves are left to find
    outer = MixtureRegressor(
        [("low", inner()), ("high", inner())], specialize=True, start=start, cv=3, max_rounds=2, random_state=0
    ).fit(X[train], y[train])
    assert adjusted_rand_score(branch[test], outer.assign(X[test])) > 0.9
    for k, expert in enumerate(outer.experts_):
        rows = test[branch[test] == (0 if k == outer.assign(X[test])[branch[test] == 0][0] else 1)]
        assert adjusted_rand_score(leaf[rows], expert.assign(X[rows])) > 0.8
    flat = Ridge().fit(X[train], y[train])
    error, single = (np.sqrt(np.mean((model.predict(X[test]) - y[test]) ** 2)) for model in (outer, flat))
    assert error < 0.35 * single


def test_three_levels_are_fitted_weighed_and_answered():
    X, y, _, _ = two_levels(200, seed=1)
    middle = MixtureRegressor(
        [("deep", inner(max_rounds=1)), ("plane", Ridge())], specialize=True, cv=2, max_rounds=1, gate="tree"
    )
    top = MixtureRegressor(
        [("middle", middle), ("plane", Ridge())], specialize=True, cv=2, max_rounds=1, gate="tree", on_error="raise",
        random_state=0,
    ).fit(X, y)  # fmt: skip
    check_answers(top, X, 2)
    check_answers(top.named_experts_["middle"], X, 2)
    check_answers(top.named_experts_["middle"].named_experts_["deep"], X, 2)
    mean, std = top.predict(X, return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert top.score(X, y) > Ridge().fit(X, y).score(X, y)


def test_classes_nest_too():
    X, y = make_regimes(300, n_features=3, task="classification", random_state=1)
    nested = MixtureClassifier(CLASSIFIERS, specialize=True, cv=2, max_rounds=1)
    top = MixtureClassifier(
        [("inner", nested), ("plane", LogisticRegression())], specialize=False, cv=2, on_error="raise", random_state=0
    ).fit(X, y)
    check_answers(top, X, 3)
    assert list(top.named_experts_) == ["inner", "plane", "stack"]


@pytest.mark.parametrize(("factor", "of_y"), [(1e6, 1.0), (1e-6, 1.0), (1.0, 1e6), (1.0, 1e-6)])
def test_ties_between_columns_of_a_tree_are_no_matter_of_units(factor, of_y):
    X, y = make_regimes(120, random_state=0)

    def answers(factor, of_y):
        mixture = MixtureRegressor(["linear", "ridge", "quadratic"], specialize=False, gate="tree", random_state=0)
        return mixture.fit(factor * X, of_y * y).predict(factor * X) / of_y

    np.testing.assert_allclose(answers(factor, of_y), answers(1.0, 1.0), atol=1e-6 * y.std())
