"""Folds that leave little to learn from, gaps that come late, starts that name no number, and the verdict's words."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, PredefinedSplit, ShuffleSplit, TimeSeriesSplit
from sklearn.preprocessing import TargetEncoder
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.training.judging import Verdict

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
POOL = [("ridge", RIDGE), ("tree", TREE)]
PLAIN = {"n_experts": 2, "start": "kmeans", "max_rounds": 1, "random_state": 0}
EVERY = pytest.mark.parametrize("specialize", [False, True, "auto"])


def _rows(n=120):
    return make_regimes(n, 4, random_state=2)


def _noise(seed, n=120):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)), rng.standard_normal(n)


class Column(RegressorMixin, BaseEstimator):
    """Answers a column of X, whatever it was fitted to."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, self.number]


# --- folds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, "auto"])
@pytest.mark.parametrize(
    "cv",
    [[(np.arange(60), np.arange(60, 120))], ShuffleSplit(1, test_size=0.5, random_state=0)],
    ids=["list", "shuffle"],
)
def test_a_single_hold_out_promises_nothing_on_noise(cv, specialize):
    """What is learned from the only held-out rows may not be judged on those rows too."""
    losses = []
    for seed in range(2 if specialize else 4):
        X, y = _noise(seed)
        mixture = MixtureRegressor(POOL, specialize=specialize, cv=cv, **PLAIN).fit(X, y)
        honest = mixture.fold_of_row_ >= 0
        assert honest.sum() == 60
        losses.append(mixture.candidates_["loss"] / y[honest].var())
        assert mixture.verdict_.winner not in ("gated", "specialised")
        assert np.isfinite(mixture.predict(X)).all()
    assert np.mean(losses, axis=0).min() > 0.9
    assert np.min(losses) > 0.8


@pytest.mark.parametrize("specialize", [False, "auto"])
def test_a_single_hold_out_still_finds_what_is_there(specialize):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    y = X.sum(axis=1) + 0.1 * rng.standard_normal(120)
    pool = [("zero", Column(0)), ("one", Column(1))]
    mixture = MixtureRegressor(pool, specialize=specialize, cv=[(np.arange(60), np.arange(60, 120))], **PLAIN)
    mixture.fit(X, y)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert loss["stack"] < 0.1 * loss["best single"]
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.1 * y.var()


@pytest.mark.parametrize("case", ["predefined", "one group out", "three groups", "two whole groups", "time"])
def test_inner_folds_where_few_are_left(case):
    X, y = _rows(60)
    halves = np.arange(60) % 2
    cv, groups = {
        "predefined": (PredefinedSplit(halves), None),
        "one group out": (LeaveOneGroupOut(), halves),
        "three groups": (2, np.arange(60) % 3),
        "two whole groups": (GroupKFold(2), halves),
        "time": (TimeSeriesSplit(5), None),
    }[case]
    X, y = (X[:24], y[:24]) if case == "time" else (X, y)
    mixture = MixtureRegressor(POOL, cv=cv, random_state=0, max_rounds=1).fit(X, y, groups=groups)
    assert np.isfinite(mixture.predict(X)).all()
    assert not set(mixture.failures_["expert"]) & {"ridge", "tree"}
    if case == "three groups":
        for group in range(3):
            assert len(set(mixture.fold_of_row_[groups == group])) == 1, "a group lies in one fold"
    if case == "time":
        assert (mixture.fold_of_row_[:4] == -1).all()


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), TimeSeriesSplit(5)], ids=["three", "five"])
def test_the_final_stack_learns_from_every_honest_row(cv):
    """The first block of a time series is judged by no second level, but its answers are as honest as any."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((96, 2))
    y = X.sum(axis=1) + 0.1 * rng.standard_normal(96)
    first = next(cv.split(X))[1]
    moved = y.copy()
    moved[first] += 10
    pool = [("zero", Column(0)), ("one", Column(1))]
    stacks = [
        MixtureRegressor(pool, specialize=False, cv=cv).fit(X, target).predict_experts(X)[:, 2] for target in (y, moved)
    ]
    honest = sum(len(test) for _, test in cv.split(X))
    shift = (stacks[1] - stacks[0]).mean()
    assert shift == pytest.approx(10 * len(first) / honest, rel=0.5), "least squares passes through the means"


# --- what comes late ------------------------------------------------------------------------------------


@EVERY
def test_gaps_that_come_only_at_prediction(specialize):
    """The experts prepare gaps for themselves, and so must gate and stack, though the training rows had none."""
    pytest.importorskip("lightgbm")
    X, y = _rows()
    mixture = MixtureRegressor(["lightgbm", "ridge"], specialize=specialize, cv=2, **PLAIN, on_error="raise").fit(X, y)
    gaps = X.copy()
    gaps[::5, 1] = np.nan
    gaps[3] = np.nan
    answers = mixture.predict(gaps)
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(mixture.gate_weights(gaps).sum(axis=1), 1)
    whole = np.isfinite(gaps).all(axis=1)
    np.testing.assert_allclose(answers[whole], mixture.predict(X)[whole], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("gate_features", ["predictions", "both", [0, 1]], ids=str)
def test_gaps_at_prediction_for_other_gate_features(gate_features):
    X, y = _rows()
    pool = ["ridge", "neighbours"]
    mixture = MixtureRegressor(pool, specialize=False, gate_features=gate_features, cv=2, random_state=0).fit(X, y)
    gaps = X.copy()
    gaps[::5, 1] = np.nan
    assert np.isfinite(mixture.predict(gaps)).all()


# --- starts and gate features ---------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["kmeans", "gmm"])
def test_a_named_start_keeps_the_mixture(start):
    X, y = _rows()
    mixture = MixtureRegressor(POOL, start=start, cv=2, random_state=0, max_rounds=1).fit(X, y)
    assert "mixture" in mixture.named_experts_
    assert not len(mixture.failures_)


@EVERY
@pytest.mark.parametrize(
    ("start", "says"),
    [("foo", "foo"), ("k-means", "kmeans"), (np.zeros(7, int), "7 rows"), (np.full((119, 2), 0.5), "119 rows"),
     (np.full((120, 2), np.nan), "finite")],
    ids=["foo", "k-means", "labels", "matrix", "nan"],
)  # fmt: skip
def test_starts_that_will_not_do_are_refused_whatever_is_fitted(start, says, specialize):
    with pytest.raises(ValueError, match=says):
        MixtureRegressor(POOL, start=start, specialize=specialize, n_experts=2, cv=2).fit(*_rows())


@EVERY
def test_gate_features_that_look_at_y_are_refused(specialize):
    """Such columns are in sample: the gate would learn from y what it cannot know later."""
    X, y = _rows()
    kinds = np.random.default_rng(0).integers(5, size=(120, 1)).astype(float)
    mixture = MixtureRegressor(POOL, gate_features=TargetEncoder(), specialize=specialize, cv=2, **PLAIN)
    with pytest.raises(ValueError, match=r"gate_features.*TargetEncoder|TargetEncoder.*gate_features"):
        mixture.fit(np.hstack([X, kinds]), y)


# --- the verdict ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("winner", ["gated", "specialised"])
def test_the_verdict_names_the_stack_that_has_all_the_weight(winner):
    numbers = (0.8, 0.2, 0.05, 0.1, 0.02, "ridge", "squared error")
    head = str(Verdict(winner, *numbers, alone="stack")).partition(":")[0]
    assert "stack" in head.lower()
    assert "gate" not in head.lower()
    assert str(Verdict(winner, *numbers)).partition(":")[0] != head


def test_the_verdict_says_when_the_mixture_answers_without_having_won():
    """Regimes are exact; one row next to the border makes the squared error a draw of lots."""
    X = np.random.default_rng(1).uniform(-1, 1, (50, 1))
    y = np.where(X[:, 0] < 0, -5.0, 5.0) + X[:, 0]
    mixture = MixtureRegressor(["linear", "forest"], random_state=0).fit(X, y)
    assert (mixture.gate_weights(X)[:, -2] == 1).all()
    assert mixture.verdict_.alone == "mixture"
    answers = "The specialised mixture answers all the same" in str(mixture.verdict_)
    assert answers == (mixture.verdict_.winner != "specialised")
    assert answers, "of this draw"
    numbers = (0.8, 0.2, 0.05, 0.1, 0.02, "ridge", "squared error")
    assert str(Verdict("specialised", *numbers, alone="mixture")).startswith("The specialised mixture won:")


def test_a_fitted_verdict_names_the_stack_that_has_all_the_weight():
    """y = x0 · x1 + ..., seen by two lines: weights that bend with x win, and no gate is needed for that."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2))
    y = (1 + X[:, 0]) * X[:, 1] + 0.1 * rng.standard_normal(200)
    pool = [("zero", Column(0)), ("one", Column(1))]
    mixture = MixtureRegressor(pool, specialize=False, cv=3, random_state=0).fit(X, y)
    alone = bool((mixture.gate_weights(X)[:, -1] == 1).all())
    assert alone, "the stack is exact here, its experts are not"
    assert "stack" in str(mixture.verdict_).partition(":")[0].lower()


def test_fold_models_that_saw_one_class_are_kept():
    X, y = make_regimes(150, task="classification", random_state=0)
    order = np.argsort(y, kind="stable")  # the first training rows hold one class
    mixture = MixtureClassifier(
        ["logistic", "naive_bayes"], cv=TimeSeriesSplit(4), n_experts=2, refit=False, random_state=0
    ).fit(X[order], y[order])
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)


def test_a_scorer_that_refuses_a_fold_is_named():
    X, y = make_regimes(150, task="classification", random_state=0)
    labels = np.array(["a", "b"])[y]
    labels[3] = "c"
    mixture = MixtureClassifier(["logistic"], specialize=False, scoring="neg_log_loss", cv=3, random_state=0)
    with pytest.raises(ValueError, match=r"scoring='neg_log_loss' refuses a fold: .* fewer folds, or another score"):
        mixture.fit(X, labels)
