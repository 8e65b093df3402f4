"""Folds: out-of-fold predictions, rows never held out, groups, time order, few rows, a single hold-out set."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, fit_predictions, load, make_regimes, save
from metamix.gates import SoftmaxGate

POOL = [("ridge", Ridge()), ("near", KNeighborsRegressor(5))]
TREES = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
FAST = {"gate": SoftmaxGate(penalty=0.1), "random_state": 0}
REGIMES = {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
N = 90


def fitted(specialize, groups=None, **parameters):
    X, y = make_regimes(N, 4, random_state=1)
    regimes = REGIMES if specialize == "auto" else {"start": "kmeans", "max_rounds": 1}
    mixture = MixtureRegressor(POOL, specialize=specialize, **{"cv": 2, **FAST, **regimes, **parameters})
    return mixture.fit(X, y, groups=groups), X, y


# --- out-of-fold predictions ----------------------------------------------------------------------------

SPLITTERS = {
    "kfold": KFold(3),
    "repeated": RepeatedKFold(n_splits=3, n_repeats=2, random_state=4),
    "time": TimeSeriesSplit(3),
    "list": [(np.arange(45), np.arange(45, N)), (np.arange(45, N), np.arange(45))],
}


@pytest.mark.parametrize("cv", SPLITTERS.values(), ids=SPLITTERS)
@pytest.mark.parametrize("specialize", [False, "auto"])
def test_out_of_fold_predictions_are_those_of_the_folds(cv, specialize):
    mixture, X, y = fitted(specialize, cv=cv)
    expected, times = np.zeros((N, 2)), np.zeros(N)
    for train, test in cv if isinstance(cv, list) else cv.split(X):
        for k, (_, one) in enumerate(POOL):
            expected[test, k] += one.fit(X[train], y[train]).predict(X[test])
        times[test] += 1
    never = times == 0
    np.testing.assert_allclose(
        mixture.oof_predictions_[~never, :2], expected[~never] / times[~never, None], rtol=1e-6, atol=1e-9
    )
    assert np.isnan(mixture.oof_predictions_[never, :-1]).all(), "all but the mean, which is known"
    assert np.isfinite(mixture.oof_predictions_[~never]).all()
    assert ((mixture.fold_of_row_.reshape(N, -1)[:, 0] < 0) == never).all()
    np.testing.assert_allclose(mixture.responsibilities_.sum(axis=1), 1)
    np.testing.assert_allclose(mixture.responsibilities_[never], mixture.gate_weights(X)[never], atol=1e-9)
    assert mixture.fold_of_row_.shape == ((N, 2) if isinstance(cv, RepeatedKFold) else (N,))


@pytest.mark.parametrize("gate_features", ["predictions", "both"])
@pytest.mark.parametrize("specialize", [False, True])
def test_time_order_with_a_gate_that_looks_at_predictions(gate_features, specialize):
    mixture, X, _ = fitted(specialize, cv=TimeSeriesSplit(4), gate_features=gate_features)
    assert np.isfinite(mixture.predict(X)).all()
    np.testing.assert_allclose(mixture.responsibilities_.sum(axis=1), 1)


def test_rows_never_held_out_take_no_part_in_the_gate(column):
    """Their predictions are unknown, so that the weights are the same whatever y is there; only the mean sees it."""
    X, y = make_regimes(N, 4, random_state=1)
    test = np.arange(30, N)
    folds = [(np.setdiff1d(np.arange(N), part), part) for part in (test[::2], test[1::2])]
    other = y.copy()
    other[:30] += 100
    one, two = (
        MixtureRegressor([column(2), column(3)], specialize=False, cv=folds, final="best", **FAST).fit(X, target)
        for target in (y, other)
    )
    np.testing.assert_allclose(one.gate_weights(X), two.gate_weights(X), atol=1e-8)
    np.testing.assert_allclose(one.predict_experts(X)[:, :-1], two.predict_experts(X)[:, :-1], atol=1e-8)
    np.testing.assert_allclose(one.gate_.predict_proba(X), two.gate_.predict_proba(X), atol=1e-8)


class GroupRecorder(KNeighborsRegressor):
    """Records whether it predicts groups (the last column of X) that it was fitted to."""

    overlaps: list = []  # noqa: RUF012

    def fit(self, X, y):
        self.groups_ = set(X[:, -1])
        return super().fit(X, y)

    def predict(self, X):
        if len(X) < 60:  # not the final models, which predict all rows
            self.overlaps.append(not self.groups_.isdisjoint(X[:, -1]))
        return super().predict(X)


@pytest.mark.parametrize(
    ("specialize", "cv"),
    [(False, GroupKFold(3)), (False, 3), (False, LeaveOneGroupOut()), (True, 3), ("auto", 3), ("auto", GroupKFold(3))],
)
def test_groups_reach_the_splitter_and_the_inner_folds(specialize, cv):
    GroupRecorder.overlaps.clear()
    groups = np.random.default_rng(0).integers(9, size=N)
    X, y = make_regimes(N, 4, random_state=1)
    X = np.column_stack([X, groups])
    pool = [("near", GroupRecorder(weights="distance")), ("ridge", Ridge())]
    regimes = REGIMES if specialize == "auto" else {"start": "kmeans", "max_rounds": 1}
    mixture = MixtureRegressor(pool, specialize=specialize, cv=cv, **FAST, **regimes).fit(X, y, groups=groups)
    for group in range(9):
        assert len(set(mixture.fold_of_row_[groups == group])) == 1, "a group lies in one fold"
    assert len(GroupRecorder.overlaps) >= 3
    assert not any(GroupRecorder.overlaps)


def test_the_users_splitter_and_seed_are_not_changed():
    splitter, legacy = KFold(3, shuffle=True), np.random.RandomState(3)
    before = legacy.get_state()[1].copy()
    fitted(False, cv=splitter)
    fitted(False, cv=KFold(3, shuffle=True, random_state=legacy))
    assert splitter.random_state is None
    np.testing.assert_array_equal(legacy.get_state()[1], before)


# --- a single hold-out set ------------------------------------------------------------------------------

HOLD_OUTS = {
    "list": [(np.arange(60), np.arange(60, 120))],
    "shuffle": ShuffleSplit(1, test_size=0.5, random_state=0),
}


@pytest.mark.parametrize("specialize", [False, "auto"])
@pytest.mark.parametrize("cv", HOLD_OUTS.values(), ids=HOLD_OUTS)
def test_a_single_hold_out_promises_nothing_on_noise(cv, specialize):
    """What is learned from the only held-out rows is not judged on those rows."""
    losses, winners = [], []
    for seed in range(2 if specialize else 4):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((120, 3)), rng.standard_normal(120)
        regimes = REGIMES if specialize else {}
        mixture = MixtureRegressor(TREES, specialize=specialize, cv=cv, **FAST, **regimes).fit(X, y)
        held_out = mixture.fold_of_row_ >= 0
        assert held_out.sum() == 60
        losses.append(mixture.candidates_.set_index("candidate")["loss"] / y[held_out].var())
        winners.append(mixture.verdict_.winner)
    assert winners.count("mean of y") >= len(winners) - 1, "1.75 standard errors let one in 25 through"
    assert np.mean(losses, axis=0).min() > 0.85
    assert np.min(losses) > 0.75


@pytest.mark.parametrize("specialize", [False, "auto"])
def test_a_single_hold_out_finds_what_is_there(specialize, column):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    y = X.sum(axis=1) + 0.1 * rng.standard_normal(120)
    regimes = REGIMES if specialize else {}
    pool = [("zero", column(0)), ("one", column(1))]
    mixture = MixtureRegressor(pool, specialize=specialize, cv=HOLD_OUTS["list"], **FAST, **regimes).fit(X, y)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert loss["stack"] < 0.1 * loss["best single"]
    assert ((mixture.predict(X) - y) ** 2).mean() < 0.1 * y.var()


def test_a_single_hold_out_has_the_mixtures_own_predictions():
    """Its column there is not that of an expert, and the regimes of all rows are found."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 3))
    y = np.where(X[:, 0] > 0, 4 * X[:, 1] + 3, -4 * X[:, 2]) + 0.1 * rng.standard_normal(240)
    mixture = MixtureRegressor(TREES, cv=ShuffleSplit(1, test_size=0.4, random_state=0), **FAST).fit(X, y)
    held_out, column = mixture.fold_of_row_ >= 0, list(mixture.named_experts_).index("mixture")
    for k in range(2):
        assert not np.allclose(mixture.oof_predictions_[held_out, column], mixture.oof_predictions_[held_out, k])
    assert mixture.n_experts_ == 2
    assert np.sqrt(((mixture.mixture_.predict(X) - y) ** 2).mean()) < 1, "a single line has 2"


# --- few rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["predefined", "one group out", "three groups", "two whole groups", "time"])
def test_inner_folds_where_few_are_left(case):
    X, y = make_regimes(60, 4, random_state=2)
    halves = np.arange(60) % 2
    cv, groups = {
        "predefined": (PredefinedSplit(halves), None),
        "one group out": (LeaveOneGroupOut(), halves),
        "three groups": (2, np.arange(60) % 3),
        "two whole groups": (GroupKFold(2), halves),
        "time": (TimeSeriesSplit(5), None),
    }[case]
    X, y = (X[:24], y[:24]) if case == "time" else (X, y)
    mixture = MixtureRegressor(TREES, cv=cv, max_rounds=1, n_experts=2, start="kmeans", **FAST).fit(X, y, groups=groups)
    assert np.isfinite(mixture.predict(X)).all()
    assert not set(mixture.failures_["expert"]) & {"ridge", "tree"}
    if case == "three groups":
        for group in range(3):
            assert len(set(mixture.fold_of_row_[groups == group])) == 1, "a group lies in one fold"
    if case == "time":
        assert (mixture.fold_of_row_[:4] == -1).all()


@pytest.mark.parametrize("splits", [3, 5])
def test_the_final_stack_is_fitted_to_every_held_out_row(splits, column):
    """The first block of a time series is judged by no second level, but its predictions are out of fold."""
    cv = TimeSeriesSplit(splits)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((96, 2))
    y = X.sum(axis=1) + 0.1 * rng.standard_normal(96)
    first = next(cv.split(X))[1]
    moved = y.copy()
    moved[first] += 0.5
    pool = [("zero", column(0)), ("one", column(1))]
    stacks = [
        MixtureRegressor(pool, specialize=False, cv=cv, **FAST).fit(X, target).named_experts_["stack"].intercept_
        for target in (y, moved)
    ]
    held_out = sum(len(test) for _, test in cv.split(X))
    expected = 0.5 * len(first) / held_out
    assert stacks[1] - stacks[0] == pytest.approx(expected, rel=0.3), "least squares passes through the means"


def test_the_order_of_experts_does_not_matter_in_a_time_series():
    one, X, _ = fitted(False, cv=TimeSeriesSplit(3))
    settings = {**FAST, "specialize": False, "cv": TimeSeriesSplit(3)}
    other = MixtureRegressor(POOL[::-1], **settings).fit(*make_regimes(N, 4, random_state=1))
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-5, atol=1e-5)


def test_fold_models_that_saw_one_class_are_kept():
    X, y = make_regimes(120, task="classification", random_state=0)
    order = np.argsort(y, kind="stable")  # the first training rows hold one class
    settings = {"cv": TimeSeriesSplit(4), "refit": False, "start": "kmeans", "n_experts": 2, "max_rounds": 1}
    mixture = MixtureClassifier(["logistic", "naive_bayes"], **FAST, **settings).fit(X[order], y[order])
    assert len(mixture.named_experts_["logistic"]) == 4
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)


def test_out_of_fold_means_are_those_of_the_other_folds():
    mixture, _, y = fitted(False, cv=3)
    for f in range(3):
        rows, test = mixture.fold_of_row_ != f, mixture.fold_of_row_ == f
        np.testing.assert_allclose(mixture.oof_predictions_[test, -1], y[rows].mean())


# --- what is judged by one figure --------------------------------------------------------------------------


def one_group_held_out():
    return [(np.arange(60), np.arange(60, 90)), (np.arange(30), np.arange(60, 90))]


@pytest.mark.parametrize(
    ("parameters", "groups", "unit"),
    [
        ({"cv": TimeSeriesSplit(2), "scoring": "neg_mean_absolute_error"}, None, "one fold"),
        ({"cv": one_group_held_out()}, np.repeat(["a", "b", "c"], 30), "one group"),
    ],
)
def test_candidates_that_are_judged_by_one_figure_are_not_compared(parameters, groups, unit):
    with pytest.raises(ValueError, match=f"{unit}.*standard error.*give cv"):
        fitted(False, groups=groups, **parameters)
    # one more is enough
    cv = TimeSeriesSplit(3) if groups is None else [*parameters["cv"], (np.arange(60, 90), np.arange(60))]
    assert fitted(False, groups=groups, **{**parameters, "cv": cv})[0].verdict_.winner != "mean of y"


# --- folds that can be read once ------------------------------------------------------------------------


def generated():
    return KFold(3).split(np.empty((N, 1)))


@pytest.mark.parametrize("make", [generated, lambda: iter(list(generated())), lambda: map(tuple, generated())])
def test_a_generator_of_folds_can_be_copied_and_read_again(make, tmp_path):
    X, y = make_regimes(N, 4, random_state=1)
    expected = MixtureRegressor(POOL, specialize=False, cv=list(generated()), **FAST).fit(X, y).predict(X)
    mixture = MixtureRegressor(POOL, specialize=False, cv=make(), **FAST)
    copies = [clone(mixture), copy.deepcopy(mixture), mixture]
    for one in copies:
        np.testing.assert_array_equal(one.fit(X, y).predict(X), expected)
        np.testing.assert_array_equal(one.fit(X, y).predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mixture)).predict(X), expected)
    save(mixture, tmp_path / "one.mix")
    np.testing.assert_array_equal(load(tmp_path / "one.mix").fit(X, y).predict(X), expected)
    fresh = MixtureRegressor(POOL, specialize=False, **FAST).set_params(cv=make())
    np.testing.assert_array_equal(copy.deepcopy(fresh.fit(X, y)).predict(X), expected)


def test_search_with_a_generator_of_folds():
    X, y = make_regimes(N, 4, random_state=1)
    every = [(np.arange(20), np.arange(20, 30)), (np.arange(10, 30), np.arange(10))]
    mixture = MixtureRegressor(POOL, specialize=False, cv=iter(every), **FAST)
    search = GridSearchCV(mixture, {"ridge__alpha": [0.1, 10.0]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.predict(X).shape == (N,)


def test_a_generator_of_folds_elsewhere():
    X, y = make_regimes(N, 4, random_state=1)
    given = np.column_stack([y + 1, 0.9 * y])
    found = [fit_predictions(given, X, y, cv=cv, random_state=0) for cv in (list(generated()), generated())]
    np.testing.assert_array_equal(*[one.gate_weights(X, given) for one in found])
    again = clone(found[1]).fit(X, y, given)
    np.testing.assert_array_equal(copy.deepcopy(again).gate_weights(X, given), found[0].gate_weights(X, given))
    tables = [compare(X, y, POOL, cv=cv, random_state=0).frame()["loss"] for cv in (list(generated()), generated())]
    np.testing.assert_array_equal(*tables)
