"""Every kind of gate in mixtures, whatever it looks at; and mixtures of mixtures."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import ClassifierGate, ConstantGate, GaussianGate, SoftmaxGate

TREE = DecisionTreeRegressor(max_depth=3, random_state=0)
QUICK = {"cv": 2, "random_state": 0}
GATES = ("constant", "softmax", "gmm", "neighbours", "tree", "forest", "boosting")
LOOKS = {
    "x": "x",
    "predictions": "predictions",
    "both": "both",
    "columns": [1, 0],
    "transformer": make_pipeline(StandardScaler(), PCA(2)),
}
NUMBERS = make_regimes(100, n_features=3, random_state=0)
CLASSES = make_regimes(100, n_features=3, task="classification", random_state=0)
# Boosting and forests take a second for each fit: they are tried with less to look at.
PAIRS = [(gate, look) for gate in GATES[1:-2] for look in LOOKS]
PAIRS += [("constant", "x"), ("forest", "both"), ("boosting", "both")]
FEW = [(gate, "both") for gate in GATES]
REGRESSORS = [("flat", Ridge(1e3)), ("plane", Ridge())]
CLASSIFIERS = [("flat", LogisticRegression(C=1e-3)), ("plane", LogisticRegression())]


def check_weights(mixture, X, K):
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
        REGRESSORS, gate=gate, gate_features=LOOKS[look], specialize=specialize, cv=2, max_rounds=1, start="uniform",
        on_error="raise", random_state=0,
    ).fit(X, y)  # fmt: skip
    check_weights(mixture, X, len(mixture.experts_))
    assert np.mean((mixture.predict(X) - y) ** 2) < 0.95 * y.var()


@pytest.mark.parametrize(("gate", "look"), FEW)
@pytest.mark.parametrize("specialize", [True, False])
def test_every_gate_in_a_classifier(gate, look, specialize):
    X, y = CLASSES
    mixture = MixtureClassifier(
        CLASSIFIERS, gate=gate, gate_features=LOOKS[look], specialize=specialize, cv=2, max_rounds=1, start="uniform",
        on_error="raise", random_state=0,
    ).fit(X, y)  # fmt: skip
    check_weights(mixture, X, len(mixture.experts_))
    assert np.allclose(mixture.predict_proba(X).sum(axis=1), 1.0)
    assert mixture.score(X, y) >= max(y.mean(), 1 - y.mean())


@pytest.mark.parametrize(("gate", "look"), list(zip(GATES[1:5], ["x", "predictions", "both", "columns"], strict=True)))
def test_every_gate_among_candidates(gate, look):
    settings = {"gate": gate, "gate_features": LOOKS[look], "cv": 2, "max_rounds": 1, "n_experts": 2}
    settings |= {"start": "kmeans", "on_error": "raise", "random_state": 0}
    for kind, experts, (X, y), K in (
        (MixtureRegressor, REGRESSORS, NUMBERS, 7), (MixtureClassifier, CLASSIFIERS, CLASSES, 6),
    ):  # fmt: skip
        mixture = kind(experts, **settings).fit(X, y)
        check_weights(mixture, X, K)
        check_weights(mixture.mixture_, X, 2)


@pytest.mark.parametrize("gate", ["neighbours", "tree", "boosting"])
def test_gates_that_are_not_linear_find_a_ring(gate):
    """Two experts, each right inside or outside of a circle, which no linear gate can find."""
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


def test_dynamic_selection_is_neighbours_with_one_expert_per_row(half_classifiers):
    X, y = lines(300)
    y = (X[:, 0] > 0) == (X[:, 1] > 0)
    settings = {"specialize": False, "top_k": 1, "final": "best", "gate_features": [0], "cv": 3, "random_state": 0}
    selection = MixtureClassifier(half_classifiers, gate="neighbours", **settings).fit(X, y)
    assert selection.verdict_.best == "gated"
    weights = selection.gate_weights(X)
    assert set(np.unique(weights)) == {0.0, 1.0}
    values = selection.predict_experts(X)
    np.testing.assert_allclose(selection.predict_proba(X), values[np.arange(300), weights.argmax(axis=1)])
    assert selection.score(X, y) > 0.9


# --- each kind of gate -----------------------------------------------------------------------------------


def lines(n=150):
    """Two lines for two halves of the table: linear experts under a gate see it all."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize(
    "gate",
    ["constant", "softmax", "gmm", ConstantGate(), SoftmaxGate(penalty=0.01), GaussianGate(),
     DecisionTreeClassifier(min_samples_leaf=15, random_state=0), LogisticRegression(),
     make_pipeline(StandardScaler(), KNeighborsClassifier(15)), ClassifierGate(LogisticRegression())],
    ids=lambda gate: gate if isinstance(gate, str) else type(gate).__name__,
)  # fmt: skip
def test_every_kind_of_gate(gate, specialize, half_classifiers):
    """Regimes given as a start, or an expert that is right in each half: the gate must tell the halves apart."""
    X, y = lines()
    if specialize:
        pool, start = [("line", LinearRegression()), ("other", LinearRegression())], (X[:, 0] > 0).astype(int)
        mixture = MixtureRegressor(pool, gate=gate, specialize=True, start=start, max_rounds=1, **QUICK).fit(X, y)
        good = ((mixture.predict(X) - y) ** 2).mean() < 0.3 * y.var()
    else:
        y = (X[:, 0] > 0) == (X[:, 1] > 0)
        mixture = MixtureClassifier(half_classifiers, gate=gate, specialize=False, **QUICK).fit(X, y)
        good = mixture.score(X, y) > 0.75
    weights = mixture.gate_weights(X)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    if specialize:
        np.testing.assert_allclose(weights, mixture.gate_.predict_proba(X), atol=1e-12)
    kinds = {"constant": ConstantGate, "softmax": SoftmaxGate, "gmm": GaussianGate}
    kind = kinds[gate] if isinstance(gate, str) else ClassifierGate if is_classifier(gate) else type(gate)
    assert isinstance(mixture.gate_, kind), "the gate that was asked for is there"
    if kind is ConstantGate:
        assert np.ptp(weights, axis=0).max() < 1e-12
    else:
        assert np.ptp(mixture.gate_.predict_proba(X), axis=0).max() > 0.2
        assert good


@pytest.mark.parametrize(
    "gate", ["softmax", "gmm", DecisionTreeClassifier(min_samples_leaf=15, random_state=0)], ids=str
)
def test_a_gate_is_better_than_a_stack_that_is_nearly_right(gate, half_experts, halves):
    """Each expert is exact in half the rows and far off in the others; its scale is not that of all rows."""
    X, y = halves()
    mixture = MixtureRegressor(half_experts, gate=gate, specialize=False, cv=3, random_state=0).fit(X, y)
    stack = ((mixture.predict_experts(X)[:, 2] - y) ** 2).mean()
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.7 * stack


def test_lightgbm_as_a_gate():
    lightgbm = pytest.importorskip("lightgbm")
    X, y = lines()
    gate = lightgbm.LGBMClassifier(n_estimators=10, min_child_samples=10, verbose=-1, n_jobs=1)
    mixture = MixtureRegressor([("a", LinearRegression()), ("b", LinearRegression())], gate=gate, specialize=True,
                               start=(X[:, 0] > 0).astype(int), max_rounds=2, **QUICK).fit(X, y)  # fmt: skip
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.3 * y.var()


def test_a_pipeline_as_gate_sees_the_frame_as_it_came():
    X, y = lines()
    frame = pd.DataFrame({"side": np.where(X[:, 0] > 0, "right", "left"), "x": X[:, 1]})
    gate = make_pipeline(make_column_transformer((OneHotEncoder(), ["side"])), LogisticRegression())
    only_x = make_column_transformer(("passthrough", ["x"]))
    pool = [(name, make_pipeline(only_x, LinearRegression())) for name in ("a", "b")]
    mixture = MixtureRegressor(pool, gate=gate, specialize=True, start=frame["side"].to_numpy(), **QUICK).fit(frame, y)
    assert ((mixture.predict(frame) - y) ** 2).mean() < 0.1 * y.var()
    named = MixtureRegressor(pool, specialize=True, start=frame["side"].to_numpy(), **QUICK).fit(frame, y)
    assert ((named.predict(frame) - y) ** 2).mean() < 0.1 * y.var(), "a gate by name prepares text for itself"


LOOKS_AND_SEES = {
    "x": ("x", True),
    "predictions": ("predictions", True),
    "both": ("both", True),
    "column": ([0], False),
    "transformer": (FunctionTransformer(lambda X: X[:, :1] > 0), False),
}


NOTHING = ("predictions", False)  # the two classifiers' predictions alone do not tell who is right


@pytest.mark.parametrize(
    ("looks", "specialize"),
    [(looks, True) for looks in LOOKS_AND_SEES]
    + [(looks, False) for looks in LOOKS_AND_SEES if looks != "predictions"],
)
def test_what_the_gate_looks_at(looks, specialize, half_classifiers):
    """Weights move with column 1 only where the gate looks at it, or at predictions that depend on it."""
    X, y = lines()
    features, sees = LOOKS_AND_SEES[looks]
    settings = {"gate_features": features, "gate": SoftmaxGate(penalty=0.001), "final": "best", **QUICK}
    if specialize:
        pool, settings["start"] = [("right", Ridge()), ("tree", TREE)], (X[:, 0] > 0).astype(int)
        mixture = MixtureRegressor(pool, specialize=True, max_rounds=1, **settings).fit(X, y)
    else:
        mixture = MixtureClassifier(half_classifiers, specialize=False, **settings)
        mixture.fit(X, (X[:, 0] > 0) == (X[:, 1] > 0))
        assert mixture.verdict_.best == "gated"
    moved = X.copy()
    moved[:, 1] += 1
    weights, after = mixture.gate_weights(X), mixture.gate_weights(moved)
    assert np.allclose(weights, after, atol=1e-12) == (not sees)


def test_gate_features_by_the_name_of_a_column(half_classifiers):
    X, y = lines()
    y = (X[:, 0] > 0) == (X[:, 1] > 0)
    frame = pd.DataFrame(X, columns=["side", "x"])
    parameters = {"gate": SoftmaxGate(penalty=0.01), "specialize": False, "final": "best", **QUICK}
    one, two, other = (
        MixtureClassifier(half_classifiers, gate_features=columns, **parameters).fit(frame, y)
        for columns in (["side"], [0], ["x"])
    )
    assert one.verdict_.best == "gated"
    weights = one.gate_weights(frame)
    np.testing.assert_array_equal(weights, two.gate_weights(frame))
    np.testing.assert_array_equal(weights, one.gate_weights(frame.assign(x=frame["x"] + 1)))
    assert np.abs(weights - one.gate_weights(frame.assign(side=-frame["side"]))).max() > 0.2
    assert one.candidates_["loss"].min() < 0.6 * other.candidates_["loss"].min(), "the other column says nothing"
    with pytest.raises(ValueError, match="sides"):
        MixtureRegressor(["ridge"], gate_features=["sides"], specialize=False, **QUICK).fit(frame, y)


# --- mixtures of mixtures --------------------------------------------------------------------------------


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
    return MixtureRegressor(planes, **{"specialize": True, "cv": 2, "max_rounds": 3, "gate": "softmax"} | settings)


def test_a_mixture_of_mixtures_finds_both_levels():
    X, y, branch, leaf = two_levels(900, seed=0)
    train, test = np.arange(600), np.arange(600, 900)
    start = (y[train] > 5).astype(int)  # what anybody sees in a histogram of y; the leaves are left to find
    outer = MixtureRegressor(
        [("low", inner()), ("high", inner())],
        specialize=True,
        start=start,
        gate="softmax",
        cv=2,
        max_rounds=1,
        random_state=0,
    ).fit(X[train], y[train])
    assert adjusted_rand_score(branch[test], outer.assign(X[test])) > 0.9
    for k, expert in enumerate(outer.experts_):
        rows = test[branch[test] == (0 if k == outer.assign(X[test])[branch[test] == 0][0] else 1)]
        assert adjusted_rand_score(leaf[rows], expert.assign(X[rows])) > 0.8
    flat = Ridge().fit(X[train], y[train])
    error, single = (np.sqrt(np.mean((model.predict(X[test]) - y[test]) ** 2)) for model in (outer, flat))
    assert error < 0.35 * single


def test_three_levels_are_fitted_and_predict():
    X, y, _, _ = two_levels(200, seed=1)
    middle = MixtureRegressor(
        [("deep", inner(max_rounds=1, start="kmeans")), ("plane", Ridge())],
        specialize=True,
        cv=2,
        max_rounds=1,
        gate="tree",
        start="kmeans",
    )
    top = MixtureRegressor(
        [("middle", middle), ("plane", Ridge())], specialize=True, cv=2, max_rounds=1, gate="tree",
        start="kmeans", on_error="raise", random_state=0,
    ).fit(X, y)  # fmt: skip
    check_weights(top, X, 2)
    check_weights(top.named_experts_["middle"], X, 2)
    check_weights(top.named_experts_["middle"].named_experts_["deep"], X, 2)
    mean, std = top.predict(X, return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()
    assert top.score(X, y) > Ridge().fit(X, y).score(X, y)


def test_classes_nest_too():
    X, y = make_regimes(150, n_features=3, task="classification", random_state=1)
    nested = MixtureClassifier(CLASSIFIERS, specialize=True, gate="softmax", cv=2, max_rounds=1, start="kmeans")
    top = MixtureClassifier(
        [("inner", nested), ("plane", LogisticRegression())],
        specialize=False,
        gate="softmax",
        cv=2,
        on_error="raise",
        random_state=0,
    ).fit(X, y)
    check_weights(top, X, 4)
    assert list(top.named_experts_) == ["inner", "plane", "stack", "mean"]


@pytest.mark.parametrize(("factor", "of_y"), [(1e6, 1.0), (1e-6, 1.0), (1.0, 1e6)])
def test_ties_between_columns_of_a_tree_do_not_depend_on_units(factor, of_y):
    X, y = make_regimes(120, random_state=0)

    def predicted(factor, of_y):
        mixture = MixtureRegressor(["linear", "ridge", "quadratic"], specialize=False, gate="tree", random_state=0)
        return mixture.fit(factor * X, of_y * y).predict(factor * X) / of_y

    np.testing.assert_allclose(predicted(factor, of_y), predicted(1.0, 1.0), atol=1e-6 * y.std())


def mixed_rows(n=150):
    """A frame of which a gate's columns have to be made, and the same columns (n, 4) by hand, in the order of names."""
    rng = np.random.default_rng(3)
    size, price = rng.normal(200.0, 30.0, n), rng.normal(5e4, 9e3, n)
    city = np.array(["Oslo", "Rome"])[rng.integers(0, 2, n)]
    frame = pd.DataFrame({"size": size, "city": city, "price": price})
    by_hand = np.column_stack([size, city == "Oslo", city == "Rome", price]).astype(float)
    y = np.where(size > 200, size - 100, 400 - size) + rng.standard_normal(n)
    return frame, by_hand, y


def test_slopes_of_a_softmax_gate_are_per_unit_of_the_columns_of_a_frame():
    X, by_hand, y = mixed_rows()
    mixture = MixtureRegressor(
        ["linear"], n_experts=2, specialize=True, gate="softmax", start=(X["size"] > 200).astype(int), cv=2,
        max_rounds=1, random_state=0,
    ).fit(X, y)  # fmt: skip
    gate = mixture.gate_
    assert np.abs(gate.coef_[0]).max() > 0.01
    weights = softmax(by_hand @ gate.coef_ + gate.intercept_, axis=1)
    np.testing.assert_allclose(weights, mixture.gate_weights(X), atol=1e-9)


def test_means_of_a_gaussian_gate_are_those_of_the_columns_of_a_frame():
    X, by_hand, y = mixed_rows()
    side = (X["size"] > 200).to_numpy()
    mixture = MixtureRegressor(
        ["linear"], n_experts=2, specialize=True, gate="gmm", start=side.astype(int), cv=2, max_rounds=1,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    shares = mixture.gate_.proportions_
    np.testing.assert_allclose(shares @ mixture.gate_.means_, by_hand.mean(axis=0), rtol=1e-6)
