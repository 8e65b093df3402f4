"""Names, experts, gates and parameters: what they resolve to, and what is refused."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, fit_predictions, make_regimes
from metamix.estimators.resolution import name_experts
from metamix.gates import ClassifierGate, ConstantGate, GaussianGate, SoftmaxGate

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
QUICK = {"cv": 3, "random_state": 0}
POOL = [("ridge", RIDGE), ("tree", TREE)]


def table(n=120):
    return make_regimes(n, 4, random_state=2)


# --- experts --------------------------------------------------------------------------------------------

CANDIDATES = [
    "mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated", "mixture",
    "stack with mixture", "mean", "blend", "stacking", "oracle",
]  # fmt: skip


@pytest.mark.parametrize("name", CANDIDATES)
def test_no_expert_may_have_the_name_of_a_column_or_candidate(name):
    for kind in (MixtureRegressor, MixtureClassifier):
        with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
            kind([("ridge", RIDGE), (name, TREE)]).fit(*table())
    X, y = table()
    with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
        fit_predictions({"model": y + 1, name: y - 1}, X, y, gate="constant")


@pytest.mark.parametrize(
    "experts",
    [
        ["ridge", "ridge", ("ridge-1", RIDGE)],
        [("ridge-1", RIDGE), "ridge", "ridge"],
        ["ridge", ("ridge-2", RIDGE), "ridge", "ridge"],
        [RIDGE, Ridge(2.0), ("ridge-1", RIDGE), ("ridge-2", RIDGE)],
    ],
)
def test_numbered_names_do_not_clash_with_given_ones(experts):
    names = [one.name for one in name_experts(experts)]
    assert len(set(names)) == len(experts)
    for name, expert in zip(names, experts, strict=True):
        assert name == expert[0] if isinstance(expert, tuple) else name.startswith("ridge")
    X, y = table(60)
    mixture = MixtureRegressor(experts, specialize=False, gate="constant", cv=2, random_state=0).fit(X, y)
    assert list(mixture.named_experts_) == [*names, "stack", "feature-weighted stack", "mean"]


# --- parameters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"experts": ["rigde", "tree"]}, "ridge"),
        ({"experts": []}, "at least one"),
        ({"experts": "ridge"}, "not a list"),
        ({"experts": [("a", RIDGE), ("a", TREE)]}, "two experts are called 'a'"),
        ({"experts": [("cv", RIDGE)]}, "cannot be called 'cv'"),
        ({"experts": [("stack", RIDGE)]}, "cannot be called 'stack'"),
        ({"experts": [("a__b", RIDGE)]}, "a__b"),
        ({"experts": [("a", 3)]}, "no estimator"),
        ({"experts": [Ridge]}, r"the class Ridge; give an object of it, Ridge\(\)"),
        ({"experts": [("a", RIDGE, [2], 3)]}, "triple"),
        ({"gate": "sofmax"}, "softmax"),
        ({"gate": 3}, "no gate"),
        ({"gate_features": "z"}, "gate_features"),
        ({"likelihood": "gausian"}, "gaussian"),
        ({"objective": "loss"}, "prediction"),
        ({"final": "cascade"}, "simplest"),
        ({"gate": []}, "empty list"),
        ({"max_regimes": 0}, "max_regimes"),
        ({"specialize": "yes"}, "auto"),
        ({"specialize": 1}, "auto"),
        ({"on_error": "ignore"}, "drop"),
        ({"start": "k-means", "specialize": True}, "kmeans"),
        ({"start": np.zeros(7, int), "specialize": True}, "7 rows, X has 120"),
        ({"n_experts": 0}, "n_experts=0"),
        ({"n_experts": "many"}, "n_experts"),
        ({"n_experts": 500, "specialize": True}, "500 experts.*120"),
        ({"top_k": 0}, "top_k"),
        ({"cv": 1}, "2 or more"),
        ({"cv": 999}, "120"),
        ({"scoring": "no_such"}, "no_such"),
        ({"max_rounds": 0, "specialize": True}, "max_rounds"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_parameters_that_will_not_do(parameters, says):
    with pytest.raises(ValueError, match=says):
        MixtureRegressor(**{"experts": [RIDGE, TREE], "specialize": False, **QUICK, **parameters}).fit(*table())


def test_an_unknown_name_lists_what_is_installed():
    with pytest.raises(ValueError, match="Did you mean 'ridge'") as caught:
        MixtureRegressor(["rigde"]).fit(*table())
    assert "neighbours" in str(caught.value)


def test_more_experts_than_rows_is_refused():
    with pytest.raises(ValueError, match="3 experts need at least as many rows, got n_samples = 2"):
        MixtureRegressor([RIDGE, TREE, KNeighborsRegressor()], specialize=True, cv=2).fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.mark.parametrize("specialize", [False, True, "auto"])
@pytest.mark.parametrize(
    ("start", "says"),
    [("foo", "foo"), ("k-means", "kmeans"), (np.zeros(7, int), "7 rows"), (np.full((119, 2), 0.5), "119 rows"),
     (np.full((120, 2), np.nan), "finite")],
    ids=["foo", "k-means", "labels", "matrix", "nan"],
)  # fmt: skip
def test_starts_that_will_not_do_are_refused_whatever_is_fitted(start, says, specialize):
    with pytest.raises(ValueError, match=says):
        MixtureRegressor(POOL, start=start, specialize=specialize, n_experts=2, cv=2).fit(*table())


# --- gates ----------------------------------------------------------------------------------------------


def noise(n=90):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)), rng.standard_normal(n)


@pytest.mark.parametrize("specialize", [False, "auto", True])
@pytest.mark.parametrize(
    ("gate", "kind"),
    [
        ("constant", ConstantGate), ("softmax", SoftmaxGate), ("gmm", GaussianGate), ("tree", ClassifierGate),
        (SoftmaxGate(degree=2, penalty=0.1), SoftmaxGate), (DecisionTreeClassifier(max_depth=2), ClassifierGate),
        (["softmax"], SoftmaxGate),
    ],
    ids=str,
)  # fmt: skip
def test_a_gate_that_is_named_is_that_gate(gate, kind, specialize):
    """On noise too, where constant weights would do as well."""
    regimes = {} if specialize is False else {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
    mixture = MixtureRegressor(POOL, gate=gate, specialize=specialize, cv=2, random_state=0, **regimes).fit(*noise())
    assert type(mixture.gate_) is kind
    if isinstance(gate, SoftmaxGate):
        assert mixture.gate_.degree == 2
    if specialize == "auto":
        assert type(mixture.mixture_.gate_) is kind


def test_gates_in_a_list_are_candidates(halves, half_experts):
    """Constant weights on noise, softmax where a line divides the rows, a tree where a square does."""
    gates, settings = ["constant", "softmax", "tree"], {"specialize": False, "cv": 3, "random_state": 0}
    X, y = halves()
    rng = np.random.default_rng(0)
    won = {}
    for what, X_gate in (("noise", rng.standard_normal(150)), ("line", X[:, 0])):
        rows = np.column_stack([X_gate, X[:, 1]])
        mixture = MixtureRegressor(half_experts, gate=gates, gate_features=[0], **settings).fit(rows, y)
        won[what] = type(mixture.gate_)
    X = rng.uniform(-1, 1, (400, 2))
    inside = (np.abs(X) < 0.7).all(axis=1)
    y = np.where(inside, X[:, 0], 5 - X[:, 0])
    pool, start = [("in", Ridge()), ("out", Ridge())], inside.astype(int)
    mixture = MixtureRegressor(pool, gate=gates, start=start, max_rounds=1, **{**settings, "specialize": True})
    won["square"] = type(mixture.fit(X, y).gate_)
    assert won == {"noise": ConstantGate, "line": SoftmaxGate, "square": ClassifierGate}
