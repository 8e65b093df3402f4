"""The two mixtures as users meet them: columns, weights, folds, verdicts, densities, and what must not matter."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, RepeatedKFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.recombination import combine, spread

NUMBERS = [
    ("ridge", Ridge()),
    ("tree", DecisionTreeRegressor(max_depth=4, random_state=0)),
    ("near", KNeighborsRegressor(5)),
]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
PLAIN = {
    "n_experts": 2,
    "start": "kmeans",
    "max_rounds": 2,
}  # regimes without the search for them, which takes a second


class Half(RegressorMixin, BaseEstimator):
    """Right in one half of the table of `_halves`, whatever it was fitted to."""

    def __init__(self, right=True):
        self.right = right

    def fit(self, X, y):
        return self

    def predict(self, X):
        return 3 * X[:, 1] if self.right else 1 - 2 * X[:, 1]


HALVES = [("right", Half(True)), ("left", Half(False))]


def _halves(seed, n=150):
    """Column 0 says which expert is right, columns 2 and 3 say nothing."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 4))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


def _fit(specialize=False, task="regression", n=150, weight=None, groups=None, experts=None, **parameters):
    X, y = make_regimes(n, 4, task=task, random_state=1)
    face, pool = (MixtureRegressor, NUMBERS) if task == "regression" else (MixtureClassifier, CLASSES)
    parameters = {"cv": 3, "random_state": 0, **(PLAIN if specialize == "auto" else {}), **parameters}
    mixture = face(pool if experts is None else experts, specialize=specialize, **parameters)
    return mixture.fit(X, y, sample_weight=weight, groups=groups), X, y


@pytest.fixture(scope="module", params=[False, True, "auto"])
def numbers(request):
    return _fit(request.param)


@pytest.fixture(scope="module", params=[False, True, "auto"])
def classes(request):
    return _fit(request.param, "classification")


# --- columns and shapes ---------------------------------------------------------------------------------


def test_columns_come_in_the_promised_order(numbers):
    mixture, X, _ = numbers
    promised = {False: ["ridge", "tree", "near", "stack"], True: ["ridge", "tree", "near"],
                "auto": ["ridge", "tree", "near", "mixture", "stack"]}[mixture.specialize]  # fmt: skip
    assert list(mixture.named_experts_) == promised
    assert list(mixture.named_experts_.values()) == mixture.experts_
    K = len(promised)
    for table in (mixture.gate_weights(X), mixture.predict_experts(X), mixture.oof_predictions_):
        assert table.shape == (150, K)
    assert mixture.responsibilities_.shape == mixture.responsibilities(X, numbers[2]).shape == (150, K)
    assert set(mixture.devices_) == set(promised)
    for k, name in enumerate(["ridge", "tree", "near"]):
        np.testing.assert_allclose(mixture.predict_experts(X)[:, k], mixture.named_experts_[name].predict(X))


def test_what_is_there_after_fit(numbers):
    mixture, _, _ = numbers
    assert mixture.n_features_in_ == 4
    assert mixture.fold_of_row_.shape == (150,)
    assert list(mixture.failures_.columns) == ["expert", "fold", "error"]
    assert not len(mixture.failures_)
    if mixture.specialize is True:
        assert mixture.verdict_ is None
        assert mixture.candidates_ is None
    else:
        promised = ["best single", "constant", "stack", "gated"] + ["specialised"] * (mixture.specialize == "auto")
        assert mixture.candidates_["candidate"].tolist() == promised
        assert mixture.candidates_["winner"].sum() == 1
        assert mixture.verdict_.winner == mixture.candidates_.loc[mixture.candidates_["winner"], "candidate"].item()
        assert str(mixture.verdict_).endswith(".")
    if mixture.specialize is not False:
        assert {"round", "loss", "log_likelihood", "entropy", "seconds"} <= set(mixture.history_.columns)
    if mixture.specialize == "auto":
        assert isinstance(mixture.mixture_, MixtureRegressor)
        assert mixture.mixture_ is mixture.named_experts_["mixture"]
        pd.testing.assert_frame_equal(mixture.history_, mixture.mixture_.history_)
        assert mixture.n_experts_ == mixture.mixture_.n_experts_ == len(mixture.mixture_.experts_)


def test_the_answer_is_the_weighted_sum(numbers):
    mixture, X, _ = numbers
    weights = mixture.gate_weights(X)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()
    np.testing.assert_allclose(mixture.predict(X), combine(weights, mixture.predict_experts(X)), rtol=1e-10)
    np.testing.assert_array_equal(mixture.assign(X), weights.argmax(axis=1))


def test_probabilities_are_the_weighted_sum(classes):
    mixture, X, y = classes
    weights, answers = mixture.gate_weights(X), mixture.predict_experts(X)
    K = {False: 3, True: 2, "auto": 4}[mixture.specialize]
    assert answers.shape == mixture.oof_predictions_.shape == (150, K, 2)
    shares = mixture.predict_proba(X)
    np.testing.assert_allclose(shares, np.einsum("nk,nkc->nc", weights, answers), rtol=1e-10)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(mixture.predict(X), mixture.classes_[shares.argmax(axis=1)])
    seen = answers[np.arange(150), :, y].clip(1e-6, 1)
    joint = weights * seen
    np.testing.assert_allclose(mixture.responsibilities(X, y), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(mixture.score_samples(X, y), np.log(joint.sum(axis=1)), rtol=1e-9, atol=1e-12)


def _deviations(mixture, X):
    """Standard deviation (n, K) of y around each answer: one scale for all rows, or following the plain mixture's."""
    learned, scale = mixture._learned, mixture.likelihood_.scale_
    scatter = learned.sides[0].scatter
    if scatter is None:
        return np.broadcast_to(scale, (len(X), len(scale)))
    own = mixture.mixture_.predict(X, return_std=True)[1]
    follow = np.maximum(np.hypot(own[:, None], scatter.noise), mixture.likelihood_.smallest_)
    return np.where(np.isnan(scatter.noise), scale, follow)


def test_density_and_responsibilities_are_those_of_a_gaussian_mixture(numbers):
    mixture, X, y = numbers
    log_prob = norm.logpdf(y[:, None], mixture.predict_experts(X), _deviations(mixture, X))
    with np.errstate(divide="ignore"):
        joint = np.log(mixture.gate_weights(X)) + log_prob
    total = logsumexp(joint, axis=1)
    np.testing.assert_allclose(mixture.score_samples(X, y), total, rtol=1e-9)
    np.testing.assert_allclose(mixture.responsibilities(X, y), np.exp(joint - total[:, None]), rtol=1e-7, atol=1e-12)


def test_standard_deviation_agrees_with_draws(numbers):
    mixture, X, _ = numbers
    mean, deviation = mixture.predict(X[:5], return_std=True)
    rng = np.random.default_rng(0)
    weights, answers = mixture.gate_weights(X[:5]), mixture.predict_experts(X[:5])
    scales = _deviations(mixture, X[:5])
    for i in range(5):
        k = rng.choice(weights.shape[1], size=400_000, p=weights[i] / weights[i].sum())
        draws = answers[i, k] + scales[i, k] * rng.standard_normal(400_000)
        assert draws.mean() == pytest.approx(mean[i], abs=5 * deviation[i] / 600)
        assert draws.std() == pytest.approx(deviation[i], rel=0.03)
    np.testing.assert_allclose(deviation, spread(weights, answers, scales))


def test_top_one_is_a_hard_choice():
    for specialize in (False, True, "auto"):
        mixture, X, _ = _fit(specialize, top_k=1)
        weights = mixture.gate_weights(X)
        assert set(np.unique(weights)) <= {0.0, 1.0}
        np.testing.assert_allclose(
            mixture.predict(X), mixture.predict_experts(X)[np.arange(150), mixture.assign(X)], rtol=1e-12
        )
    X, y = _halves(0)
    one = MixtureRegressor(HALVES, specialize=False, top_k=1, cv=3, random_state=0).fit(X, y)
    clear = np.abs(X[:, 0]) > 0.2
    assert set(one.assign(X)) >= {0, 1}, "each expert is chosen where it is right"
    assert ((one.predict(X) - y)[clear] ** 2).mean() < 0.1 * y.var()
    two = MixtureRegressor(HALVES, specialize=False, top_k=2, cv=3, random_state=0).fit(X, y)
    assert ((two.gate_weights(X) > 0).sum(axis=1) <= 2).all()
    assert np.ptp(two.gate_weights(X), axis=0).max() > 0.5


def test_without_refit_the_fold_models_answer_together():
    for specialize in (False, True, "auto"):
        mixture, X, _ = _fit(specialize, refit=False)
        assert len(mixture.named_experts_["ridge"]) == 3
        answers = mixture.predict_experts(X)
        for k, name in enumerate(["ridge", "tree", "near"]):
            expected = np.mean([one.predict(X) for one in mixture.named_experts_[name]], axis=0)
            np.testing.assert_allclose(answers[:, k], expected)


# --- folds ----------------------------------------------------------------------------------------------


def _honest(mixture, X, y, folds):
    expected = np.zeros((len(y), 3))
    times = np.zeros(len(y))
    for train, test in folds:
        for k, (_, one) in enumerate(NUMBERS):
            expected[test, k] += one.fit(X[train], y[train]).predict(X[test])
        times[test] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mixture.oof_predictions_[:, :3], expected / times[:, None], rtol=1e-6)


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=4),
        TimeSeriesSplit(3),
        [(np.arange(0, 75), np.arange(75, 150)), (np.arange(75, 150), np.arange(0, 75))],
    ],
    ids=["kfold", "repeated", "time", "list"],
)
def test_out_of_fold_answers_are_those_of_the_folds(cv):
    for specialize in (False, "auto"):
        mixture, X, y = _fit(specialize, cv=cv)
        folds = cv if isinstance(cv, list) else list(cv.split(X))
        _honest(mixture, X, y, folds)
        never = mixture.fold_of_row_.reshape(150, -1)[:, 0] < 0
        assert np.isnan(mixture.oof_predictions_[never]).all()
        assert np.isfinite(mixture.oof_predictions_[~never]).all()
        assert np.isfinite(mixture.responsibilities_).all()
        np.testing.assert_allclose(mixture.responsibilities_[never], mixture.gate_weights(X)[never], atol=1e-9)
        if isinstance(cv, RepeatedKFold):
            assert mixture.fold_of_row_.shape == (150, 2)


@pytest.mark.parametrize("gate_features", ["predictions", "both"])
def test_time_order_with_a_gate_that_looks_at_answers(gate_features):
    for specialize in (False, True):
        mixture, X, _ = _fit(specialize, cv=TimeSeriesSplit(4), gate_features=gate_features)
        assert np.isfinite(mixture.predict(X)).all()
        np.testing.assert_allclose(mixture.responsibilities_.sum(axis=1), 1)
    mixture, X, _ = _fit(False, "classification", cv=TimeSeriesSplit(4), gate_features=gate_features)
    assert np.isfinite(mixture.predict_proba(X)).all()


def test_rows_never_held_out_take_no_part_in_the_gate():
    """Their answers are unknown, so that the gate is the one of the judged rows, whatever y is there."""
    X, y = make_regimes(150, 4, random_state=1)
    test = np.arange(50, 150)
    folds = [(np.setdiff1d(np.arange(150), part), part) for part in (test[::2], test[1::2])]

    class Deaf(RegressorMixin, BaseEstimator):
        """Answers a column of X: what y is does not change it."""

        def __init__(self, column=0):
            self.column = column

        def fit(self, X, y):
            return self

        def predict(self, X):
            return X[:, self.column]

    other = y.copy()
    other[:50] += 100
    weights = [
        MixtureRegressor([Deaf(2), Deaf(3)], specialize=False, cv=folds).fit(X, target).gate_weights(X)
        for target in (y, other)
    ]
    np.testing.assert_allclose(*weights, atol=1e-8)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_groups_reach_the_splitter_and_the_inner_folds(specialize):
    groups = np.random.default_rng(0).integers(9, size=150)
    seen = []

    class Spy(KNeighborsRegressor):
        """Writes down which groups it learned from and answered for (the last column of X)."""

        def fit(self, X, y):
            self.learned_ = set(X[:, -1])
            return super().fit(X, y)

        def predict(self, X):
            if len(X) < 100:
                seen.append(self.learned_.isdisjoint(X[:, -1]))
            return super().predict(X)

    X, y = make_regimes(150, 4, random_state=1)
    X = np.column_stack([X, groups])
    for cv in (GroupKFold(3), 3, LeaveOneGroupOut()):
        if specialize is not False and not isinstance(cv, GroupKFold):
            continue  # one splitter is enough for the slow ones
        mixture = MixtureRegressor(
            [("spy", Spy(weights="distance")), ("ridge", Ridge())], specialize=specialize, cv=cv, random_state=0,
            **(PLAIN if specialize == "auto" else {"max_rounds": 2}),
        ).fit(X, y, groups=groups)  # fmt: skip
        for group in range(9):
            assert len(set(mixture.fold_of_row_[groups == group])) == 1, "a group lies in one fold"
    assert len(seen) >= 6
    assert all(seen), "no expert answers for a group that it knows, at any depth"


def test_the_users_splitter_and_seed_are_not_touched():
    splitter, legacy = KFold(3, shuffle=True), np.random.RandomState(3)
    seeded = KFold(3, shuffle=True, random_state=legacy)
    before = legacy.get_state()[1].copy()
    _fit(cv=splitter)
    _fit(cv=seeded)
    assert splitter.random_state is None
    np.testing.assert_array_equal(legacy.get_state()[1], before)


# --- verdict --------------------------------------------------------------------------------------------


def test_the_candidates_are_read_off_the_honest_table():
    mixture, _, y = _fit(False)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    singles = ((mixture.oof_predictions_[:, :3] - y[:, None]) ** 2).mean(axis=0)
    assert loss["best single"] == pytest.approx(singles.min())
    assert mixture.verdict_.best_single == ["ridge", "tree", "near"][singles.argmin()]
    gains = mixture.candidates_.set_index("candidate")["gain"]
    np.testing.assert_allclose(gains, loss["best single"] - loss)
    # Convex weights of the other folds, found by a solver that knows nothing of ours.
    from scipy.optimize import minimize

    expected = np.empty(150)
    table = mixture.oof_predictions_[:, :3]
    for f in range(3):
        rows, test = mixture.fold_of_row_ != f, mixture.fold_of_row_ == f
        unit = {"type": "eq", "fun": lambda w: w.sum() - 1}
        found = minimize(lambda w, rows=rows: ((table[rows] @ w - y[rows]) ** 2).mean(), np.ones(3) / 3,
                         bounds=[(0, 1)] * 3, constraints=unit, tol=1e-12)  # fmt: skip
        expected[test] = table[test] @ found.x
    assert loss["constant"] == pytest.approx(((expected - y) ** 2).mean(), rel=1e-3)


def test_planted_regimes_are_found_and_said_so():
    X, y = make_regimes(400, 4, noise=0.1, random_state=0)
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=5, random_state=0))],
                               n_experts=2, cv=3, random_state=0).fit(X[:300], y[:300])  # fmt: skip
    error = ((mixture.predict_experts(X[300:]) - y[300:, None]) ** 2).mean(axis=0)
    names = list(mixture.named_experts_)
    assert error[names.index("mixture")] < 0.7 * min(error[names.index("ridge")], error[names.index("tree")])
    assert mixture.verdict_.winner == "specialised"
    assert ((mixture.predict(X[300:]) - y[300:]) ** 2).mean() < 1.1 * error.min()


def test_only_features_with_information_make_a_gate():
    """The same table and experts: with the column that says who is right, and with columns that say nothing."""
    won = {"telling": 0, "noise": 0}
    for seed in range(20):
        X, y = _halves(seed, 90)
        for what, columns in (("telling", [0]), ("noise", [2, 3])):
            if what == "telling" and seed >= 3:
                continue
            mixture = MixtureRegressor(HALVES, specialize=False, gate_features=columns, cv=3, random_state=seed)
            won[what] += mixture.fit(X, y).verdict_.winner == "gated"
    assert won["telling"] == 3
    assert won["noise"] <= 2, "two standard errors let one in forty through"


def test_scoring_judges_the_table():
    from sklearn.metrics import mean_absolute_error

    mixture, _, y = _fit(False, scoring="neg_mean_absolute_error")
    by_fold = [
        mean_absolute_error(y[rows], mixture.oof_predictions_[rows, 0])
        for rows in (mixture.fold_of_row_ == f for f in range(3))
    ]
    if mixture.verdict_.best_single == "ridge":
        assert mixture.candidates_["loss"][0] == pytest.approx(np.mean(by_fold))
    assert "neg_mean_absolute_error" in str(mixture.verdict_)
    classes, _, _ = _fit(False, "classification", scoring="roc_auc")
    assert -1 <= classes.candidates_["loss"].max() <= 0
