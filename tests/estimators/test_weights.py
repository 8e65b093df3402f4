"""Row weights reach experts, stack, gate and starts; zero is a row removed, two is a row twice."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, fit_predictions, make_regimes
from metamix.gates import SoftmaxGate

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
FAST = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1)}


def settings(specialize, **parameters):
    regimes = {"start": "kmeans", "max_rounds": 1} if specialize is not False else {}
    regimes |= {"n_experts": 2} if specialize == "auto" else {}
    return {**FAST, "specialize": specialize, **regimes, **parameters}


def table(n=120, **more):
    return make_regimes(n, 4, random_state=2, **more)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("specialize", [False, True])
def test_sample_weights_reach_experts(specialize, routing):
    X, y = table()
    weight = np.where(X[:, 3] > 0, 5.0, 0.1)
    with config_context(enable_metadata_routing=routing):
        pool = [("pipe", make_pipeline(StandardScaler(), Ridge())), ("near", KNeighborsRegressor(5))]
        weighted = MixtureRegressor(pool, **settings(specialize)).fit(X, y, sample_weight=weight)
        plain = MixtureRegressor(pool, **settings(specialize)).fit(X, y)
    assert not len(weighted.failures_)
    assert not np.allclose(weighted.predict(X), plain.predict(X))
    if not specialize:
        expected = Ridge().fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
        np.testing.assert_allclose(weighted.named_experts_["pipe"][-1].coef_, expected.coef_, rtol=1e-6)
        losses = np.average((weighted.oof_predictions_[:, :2] - y[:, None]) ** 2, axis=0, weights=weight)
        assert weighted.candidates_["loss"][1] == pytest.approx(losses.min())


def test_sample_weights_reach_stack_and_gate(column):
    """Experts that are not fitted: whatever changes, changes in the stack and the gate."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    first = rng.random(120) > 0.5
    y = np.where(first, X[:, 0], X[:, 1])
    for rows in (first, ~first):
        weight = np.where(rows, 1.0, 1e-3)
        pool = [("zero", column(0)), ("one", column(1))]
        mixture = MixtureRegressor(pool, **settings(False, gate="constant")).fit(X, y, sample_weight=weight)
        right = 0 if rows is first else 1
        np.testing.assert_allclose(mixture.predict_experts(X)[rows, 2], X[rows, right], atol=0.3)
        np.testing.assert_allclose(mixture.predict(X)[rows], X[rows, right], atol=0.3)


@pytest.mark.parametrize("routing", [False, True])
def test_routing_on_or_off_is_the_same_fit(routing):
    X, y = table()
    with config_context(enable_metadata_routing=routing):
        mixture = MixtureRegressor([RIDGE, TREE], **settings(False)).fit(X, y, groups=np.arange(120) % 6)
    again = MixtureRegressor([RIDGE, TREE], **settings(False)).fit(X, y, groups=np.arange(120) % 6)
    np.testing.assert_array_equal(mixture.predict(X), again.predict(X))


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_a_row_of_weight_zero_is_a_row_removed(specialize):
    X, y = table()
    junk_X, junk_y = X[:30] + 0.5, y[:30] - 40
    folds = list(KFold(4).split(X))  # of fewer, nested fits of the mixture would divide the rows anew
    more = np.arange(120, 150)
    longer = [(np.r_[train, more], np.r_[test, more[f::4]]) for f, (train, test) in enumerate(folds)]
    longer = [(np.setdiff1d(train, test), test) for train, test in longer]
    labels = (X[:, 0] > 0).astype(int)
    parameters = settings(specialize)
    pool = [("ridge", RIDGE), ("near", KNeighborsRegressor(5))]
    short = MixtureRegressor(pool, **{**parameters, "cv": folds, "start": labels})
    short.fit(X, y, sample_weight=np.ones(120))
    weight = np.repeat([1.0, 0.0], [120, 30])
    long = MixtureRegressor(pool, **{**parameters, "cv": longer, "start": np.r_[labels, np.arange(30) % 2]})
    long.fit(np.vstack([X, junk_X]), np.r_[y, junk_y], sample_weight=weight)
    np.testing.assert_allclose(long.predict(X), short.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("start", ["kmeans", "gmm", "joint_gmm", "proxy"])
def test_starts_do_not_see_rows_of_weight_zero(start):
    X, y = table()
    folds = list(KFold(3).split(X))
    longer = [(np.r_[train, 120:150], test) for train, test in folds]
    pool = [("ridge", RIDGE), ("steep", Ridge(10.0))]
    parameters = settings(True, n_experts=2, start=start)
    del parameters["cv"]
    short = MixtureRegressor(pool, cv=folds, **parameters).fit(X, y, sample_weight=np.ones(120))
    long = MixtureRegressor(pool, cv=longer, **parameters).fit(
        np.vstack([X, X[:30] + 6]), np.r_[y, y[:30] - 90], sample_weight=np.repeat([1.0, 0.0], [120, 30])
    )
    np.testing.assert_allclose(long.predict(X), short.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("final", ["blend", "best"])
def test_whole_weights_are_repeated_rows(final):
    X, y = table(90)
    times = np.random.default_rng(0).integers(1, 4, 90)
    row = np.repeat(np.arange(90), times)
    folds = list(KFold(3).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(row, part)) for part in pair) for pair in folds]
    pool, parameters = [("ridge", Ridge(1e-3)), ("steep", Ridge(300.0))], settings(False, final=final)
    one = MixtureRegressor(pool, **{**parameters, "cv": folds}).fit(X, y, sample_weight=times)
    # Copies of a row are one row to the standard errors, by which it is decided whether to nest.
    other = MixtureRegressor(pool, **{**parameters, "cv": repeated}).fit(X[row], y[row], groups=row)
    np.testing.assert_allclose(one.predict_experts(X), other.predict_experts(X), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.candidates_["loss"], other.candidates_["loss"], rtol=1e-6)
    for name in ("stack", "feature-weighted stack"):
        assert one.named_experts_[name].margin_ == pytest.approx(other.named_experts_[name].margin_)


def test_weights_that_sum_to_one_are_those_of_mean_one():
    X, y = table(128)
    share = np.random.default_rng(0).dirichlet(np.full(128, 5.0))
    pool = [("tree", TREE), ("stump", DecisionTreeRegressor(max_depth=1, random_state=0))]
    one, other = (
        MixtureRegressor(pool, **settings(False)).fit(X, y, sample_weight=weight) for weight in (share, 128 * share)
    )
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-6, atol=1e-8)


def test_a_mixture_takes_one_of_each_kind():
    X, y, regime = table(200, return_regimes=True)
    start = np.where(np.eye(2)[regime] == 1, 0.95, 0.05)
    pool = [("takes", RIDGE), ("takes none", KNeighborsRegressor(5))]
    mixture = MixtureRegressor(pool, **settings(True, start=start)).fit(X, y, sample_weight=np.full(200, 2.0))
    assert not len(mixture.failures_)
    assert np.isfinite(mixture.predict(X)).all()


@pytest.mark.parametrize("weight", [-np.ones(120), np.zeros(120), np.full(120, np.nan), np.ones(7), np.ones((120, 2))])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match="sample_weight"):
        MixtureRegressor([RIDGE, TREE], **settings("auto")).fit(*table(), sample_weight=weight)


# --- weights within folds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, "auto"])
def test_the_same_measure_gives_the_same_losses_however_it_is_given(specialize):
    X, y = table()
    weight = np.random.default_rng(0).uniform(0.1, 5.0, 120)
    pool = [("ridge", RIDGE), ("near", KNeighborsRegressor(5))]
    squared = make_scorer(mean_squared_error, greater_is_better=False)
    plain = MixtureRegressor(pool, **settings(specialize)).fit(X, y, sample_weight=weight)
    for scoring in ("neg_mean_squared_error", squared):
        found = MixtureRegressor(pool, **settings(specialize, scoring=scoring)).fit(X, y, sample_weight=weight)
        # Candidates without a choice by loss have the very same predictions.
        fixed = ["mean of y", "average", "convex", "stack", "feature-weighted stack"]
        one, other = (m.candidates_.set_index("candidate")["loss"][fixed] for m in (found, plain))
        np.testing.assert_allclose(one, other)


def test_predictions_made_elsewhere_are_judged_with_their_weights():
    X, y = table()
    weight = np.random.default_rng(0).uniform(0.1, 5.0, 120)
    given = np.column_stack([X[:, 0], y + X[:, 1]])
    squared = make_scorer(mean_squared_error, greater_is_better=False)
    found = fit_predictions(given, X, y, sample_weight=weight, scoring=squared, gate="constant", random_state=0)
    losses = found.candidates_.set_index("candidate")["loss"]
    assert losses["best single"] == pytest.approx(np.average((given[:, 1] - y) ** 2, weights=weight))


def test_the_verdict_says_that_a_measure_takes_no_weights():
    X, y = table()
    weight = np.random.default_rng(0).uniform(0.1, 5.0, 120)
    mixture = MixtureRegressor([RIDGE, TREE], **settings(False, scoring="neg_max_error"))
    assert "weights of rows within a fold" in str(mixture.fit(X, y, sample_weight=weight).verdict_)
    assert "weights of rows within a fold" not in str(mixture.fit(X, y).verdict_)
    compared = compare(
        X[:40], y[:40], [RIDGE, TREE], cv=2, scoring="neg_max_error", sample_weight=weight[:40], random_state=0
    )
    assert "weights of rows within a fold" in compared.verdict


# --- what rows without weight must not decide -----------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{"scoring": "neg_mean_absolute_error"}, {"objective": "likelihood"}, {}],
    ids=["scorer", "density", "error"],
)
def test_candidates_are_judged_as_if_rows_without_weight_were_absent(more):
    X, y = make_regimes(120, random_state=0)
    counts = np.arange(120) % 4 > 0
    wild = np.where(counts, y, 1e7 * np.random.default_rng(0).normal(size=120))
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    place = np.cumsum(counts) - 1
    fewer = [(place[train[counts[train]]], place[test[counts[test]]]) for train, test in folds]

    def losses(cv, *given, **weight):
        mixture = MixtureRegressor(["linear", "quadratic"], **settings(False, cv=cv, **more))
        return mixture.fit(*given, **weight).candidates_["loss"]

    without = losses(folds, X, wild, sample_weight=counts.astype(float))
    np.testing.assert_allclose(without, losses(fewer, X[counts], y[counts]), rtol=1e-6)


def test_a_fold_that_has_nothing_to_learn_from_is_no_error():
    X, y = make_regimes(120, random_state=0)
    weight = np.ones(120)
    weight[24:48] = 0  # all that the second fold could judge its weights by
    mixture = MixtureRegressor(["linear", "ridge"], cv=TimeSeriesSplit(4), specialize=False, gate="softmax")
    assert np.isfinite(mixture.fit(X, y, sample_weight=weight).predict(X)).all()


# --- experts that take no weights -------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True])
def test_a_composite_that_takes_no_weights_is_fitted_to_drawn_rows(specialize):
    """OneVsRestClassifier has an estimator that takes weights, but does not hand them on."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    X = rng.standard_normal((150, 2)) + np.eye(3)[y, :2]
    weight = np.array([4.0, 0.5, 1.0])[y]
    pool = [("each", OneVsRestClassifier(LogisticRegression())), ("tree", DecisionTreeClassifier(max_depth=2))]
    mixture = MixtureClassifier(pool, on_error="raise", **settings(specialize)).fit(X, y, sample_weight=weight)
    assert not len(mixture.failures_)
    assert list(mixture.named_experts_)[:2] == ["each", "tree"]
    if not specialize:
        weighted = [LogisticRegression().fit(X, y == c, sample_weight=weight).predict_proba(X)[:, 1] for c in range(3)]
        expected = np.column_stack(weighted) / np.sum(weighted, axis=0)[:, None]
        plain = OneVsRestClassifier(LogisticRegression()).fit(X, y).predict_proba(X)
        given = mixture.predict_experts(X)[:, 0]
        assert np.abs(given - expected).mean() < 0.3 * np.abs(plain - expected).mean()


class Sampled(RegressorMixin, BaseEstimator):
    """A line through half of the rows, chosen by its random state; takes no weights."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        source = self.random_state if hasattr(self.random_state, "choice") else np.random.RandomState(self.random_state)
        rows = source.choice(len(X), len(X) // 2 + 1, replace=False)
        self.line_ = LinearRegression().fit(X[rows], y[rows])
        return self

    def predict(self, X):
        return self.line_.predict(X)


@pytest.mark.parametrize("specialize", [False, True])
def test_a_random_state_object_and_no_weights(specialize):
    X, y = table()
    weight = np.where(X[:, 3] > 0, 5.0, 0.1)
    pool = [("sampled", Sampled(np.random.RandomState(0))), ("ridge", RIDGE)]
    one, two = (
        MixtureRegressor(pool, on_error="raise", **settings(specialize)).fit(X, y, sample_weight=weight)
        for _ in range(2)
    )
    assert np.isfinite(one.predict(X)).all()
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    if not specialize:
        plain = MixtureRegressor(pool, **settings(False)).fit(X, y)
        assert not np.allclose(plain.predict_experts(X)[:, 0], one.predict_experts(X)[:, 0]), "weights reach it"
