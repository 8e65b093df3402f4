"""Nothing depends on the order of rows, experts, targets or classes, on the unit of weights, or on repeating a row."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate

STARTS = ["kmeans", "gmm", "joint_gmm", "random", "proxy", "auto"]
GATE = SoftmaxGate(penalty=0.1)
FAST = {"cv": 3, "random_state": 0, "gate": GATE, "specialize": True, "max_rounds": 2}


def regimes(n=120, seed=0):
    """Two lines for two halves of the table, two targets that do not share their regimes' levels, two classes."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    right = X[:, 0] > 0.2
    Y = np.column_stack([np.where(right, 3 * X[:, 1], 1 - 2 * X[:, 1]), np.where(right, 40 + X[:, 0], -9.0 * X[:, 1])])
    Y += rng.standard_normal((n, 2)) * [0.1, 2.0]
    return X, Y, np.where(Y[:, 0] > 0.5, "ant", np.where(X[:, 1] > 0, "bee", "cow"))


def same(one, other):
    np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


# --- rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_rows_permuted_are_the_same_fit(kind, start):
    X, Y, labels = regimes()
    order = np.random.default_rng(1).permutation(len(X))
    if kind == "numbers":
        y, pool, make, ask = Y[:, 0], ["ridge", "neighbours"], MixtureRegressor, "predict"
    else:
        y, pool, make, ask = labels, ["logistic", "tree"], MixtureClassifier, "predict_proba"
    one = make(pool, **FAST, n_experts=2, start=start).fit(X, y)
    other = make(pool, **FAST, n_experts=2, start=start).fit(X[order], y[order])
    same(getattr(one, ask)(X), getattr(other, ask)(X))
    np.testing.assert_array_equal(other.fold_of_row_, one.fold_of_row_[order])


@pytest.mark.parametrize("gate", ["softmax", "gmm", "neighbours", "tree", "forest", "boosting"])
def test_rows_permuted_are_the_same_candidates(gate):
    X, Y, _ = regimes()
    order = np.random.default_rng(1).permutation(len(X))
    settings = {**FAST, "gate": gate, "specialize": False}
    one = MixtureRegressor(["ridge", "extra_trees"], **settings).fit(X, Y[:, 0])
    other = MixtureRegressor(["ridge", "extra_trees"], **settings).fit(X[order], Y[order, 0])
    same(one.predict(X), other.predict(X))
    same(one.candidates_["loss"], other.candidates_["loss"])


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_rows_permuted_are_the_same_fit_in_sample(likelihood):
    X, Y, _ = regimes(80)
    order = np.random.default_rng(1).permutation(len(X))
    pool = [("one", LinearRegression()), ("two", LinearRegression())]
    one, other = (
        MixtureRegressor(pool, cv=None, gate="constant", likelihood=likelihood, random_state=0).fit(X[rows], Y[rows, 0])
        for rows in (np.arange(80), order)
    )
    same(one.predict(X), other.predict(X))


# --- targets, classes, experts ---------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_targets_permuted_are_predictions_permuted(start):
    X, Y, _ = regimes()
    pool = [("steep", Ridge(10.0)), ("ridge", Ridge())]
    one, other = (MixtureRegressor(pool, **FAST, n_experts=2, start=start).fit(X, target) for target in (Y, Y[:, ::-1]))
    same(one.predict(X), other.predict(X)[:, ::-1])


def test_targets_permuted_are_predictions_permuted_in_sample():
    X, Y, _ = regimes(80)
    pool = [("one", LinearRegression()), ("two", LinearRegression())]
    one, other = (
        MixtureRegressor(pool, cv=None, gate="constant", random_state=0).fit(X, target) for target in (Y, Y[:, ::-1])
    )
    same(one.predict(X), other.predict(X)[:, ::-1])


@pytest.mark.parametrize("start", STARTS)
def test_classes_renamed_are_the_same_fit(start):
    X, _, labels = regimes()
    renamed = np.array(["zebra", "yak", "wolf"])[np.unique(labels, return_inverse=True)[1]]
    pool = [("logistic", LogisticRegression(tol=1e-8)), ("firm", LogisticRegression(C=0.05, tol=1e-8))]
    one, other = (
        MixtureClassifier(pool, **FAST, n_experts=2, start=start).fit(X, target) for target in (labels, renamed)
    )
    same(one.predict_proba(X), other.predict_proba(X)[:, ::-1])


@pytest.mark.parametrize("cv", [3, None])
@pytest.mark.parametrize("start", STARTS)
def test_experts_permuted_are_columns_permuted(start, cv):
    X, Y, _ = regimes(60)
    pool = [("ridge", Ridge()), ("steep", Ridge(30.0)), ("line", LinearRegression())]
    settings = {**FAST, "cv": cv, "start": start}
    one = MixtureRegressor(pool, **settings).fit(X, Y[:, 0])
    other = MixtureRegressor([pool[2], pool[0], pool[1]], **settings).fit(X, Y[:, 0])
    same(one.predict(X), other.predict(X))
    same(one.gate_weights(X), other.gate_weights(X)[:, [1, 2, 0]])


def test_an_expert_has_its_seed_wherever_it_stands():
    X, Y, _ = regimes()
    pool = ["extra_trees", "ridge", "forest"]
    one, other = (
        MixtureRegressor(names, **{**FAST, "specialize": False}).fit(X, Y[:, 0]) for names in (pool, pool[::-1])
    )
    same(one.predict_experts(X)[:, :3], other.predict_experts(X)[:, 2::-1])


# --- weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "specialize"),
    [*((gate, False) for gate in ("softmax", "gmm", "neighbours", "tree", "forest", "boosting")),
     *((gate, True) for gate in ("softmax", "gmm"))],
)  # fmt: skip
def test_the_unit_of_weights_does_not_matter(gate, specialize):
    X, Y, _ = regimes()
    weight = np.random.default_rng(2).uniform(0.2, 3.0, len(X))
    settings = {**FAST, "gate": gate, "specialize": specialize}
    settings |= {"n_experts": 2, "start": "kmeans"} if specialize else {}
    one, other = (
        MixtureRegressor(["cubic", "extra_trees"], **settings).fit(X, Y[:, 0], sample_weight=unit * weight)
        for unit in (1.0, 1000.0)
    )
    same(one.predict(X), other.predict(X))
    same(one.predict(X, return_std=True)[1], other.predict(X, return_std=True)[1])


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_weights_does_not_matter_to_classes(scale):
    X, _, labels = regimes()
    weight = np.random.default_rng(2).uniform(0.2, 3.0, len(X))
    one, other = (
        MixtureClassifier(["logistic", "tree"], **FAST, n_experts=2).fit(X, labels, sample_weight=unit * weight)
        for unit in (1.0, scale)
    )
    same(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize("start", [one for one in STARTS if one != "random"])
@pytest.mark.parametrize("gate", [GATE, "gmm"], ids=["softmax", "gmm"])
def test_a_row_of_weight_two_is_two_rows(start, gate):
    X, Y, _ = regimes(90)
    times = np.random.default_rng(0).integers(1, 4, 90)
    row = np.repeat(np.arange(90), times)
    folds = list(KFold(3).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(row, part)) for part in pair) for pair in folds]
    settings = {**FAST, "gate": gate, "start": start, "n_experts": 2, "max_rounds": 1}
    one = MixtureRegressor(["ridge", "quadratic"], **{**settings, "cv": folds}).fit(X, Y[:, 0], sample_weight=times)
    other = MixtureRegressor(["ridge", "quadratic"], **{**settings, "cv": repeated}).fit(X[row], Y[row, 0])
    same(one.predict(X), other.predict(X))
