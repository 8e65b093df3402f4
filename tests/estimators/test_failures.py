"""Experts with habits of their own: no weights, a random state object, failures out of sight, names that clash."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, make_regimes
from metamix.estimators.resolution import name_experts

RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
QUICK = {"cv": 3, "random_state": 0}


def _rows(n=120, **more):
    return make_regimes(n, 4, random_state=2, **more)


# --- weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True])
def test_a_composite_that_takes_no_weights_learns_from_drawn_rows(specialize):
    """OneVsRestClassifier has an estimator that takes weights, but does not hand them on."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    X = rng.standard_normal((150, 2)) + np.eye(3)[y, :2]
    weight = np.array([4.0, 0.5, 1.0])[y]
    pool = [("each", OneVsRestClassifier(LogisticRegression())), ("tree", DecisionTreeClassifier(max_depth=2))]
    mixture = MixtureClassifier(pool, specialize=specialize, on_error="raise", **QUICK).fit(X, y, sample_weight=weight)
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
    X, y = _rows()
    weight = np.where(X[:, 3] > 0, 5.0, 0.1)
    pool = [("sampled", Sampled(np.random.RandomState(0))), ("ridge", RIDGE)]
    one, two = (
        MixtureRegressor(pool, specialize=specialize, on_error="raise", **QUICK).fit(X, y, sample_weight=weight)
        for _ in range(2)
    )
    assert np.isfinite(one.predict(X)).all()
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    if not specialize:
        plain = MixtureRegressor(pool, specialize=False, **QUICK).fit(X, y)
        assert not np.allclose(plain.predict_experts(X)[:, 0], one.predict_experts(X)[:, 0]), "weights reach it"


# --- failures out of sight ------------------------------------------------------------------------------


class Picky(Ridge):
    """Learns and answers, but not for a row of the first outer fold once it has learned from 60 rows."""

    def __init__(self, how="raises", alpha=1.0):
        super().__init__(alpha)
        self.how = how

    def fit(self, X, y, sample_weight=None):
        self.rows_ = len(X)
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        answers = super().predict(X)
        odd = X[:, -1] == 7
        if self.rows_ == 60 and odd.any():
            if self.how == "raises":
                raise OSError("cannot look at sevens")
            answers[odd] = np.nan
        return answers


@pytest.mark.parametrize("how", ["raises", "answers NaN"])
def test_compare_goes_on_without_an_expert_that_fails_on_outer_test_rows(how):
    X, y = make_regimes(90, 3, random_state=0)
    outer = KFold(3)
    X = np.column_stack([X, np.zeros(90)])
    X[4, -1] = 7
    pool = [("ridge", RIDGE), ("near", KNeighborsRegressor(5))]
    result = compare(X, y, [("picky", Picky(how)), *pool], cv=outer, random_state=0)
    table = result.frame().set_index("name")
    assert "picky" not in table.index
    assert "picky" in {failure.expert for failure in result.failures}
    assert set(table.index) >= {"ridge", "near", "stacking", "mixture", "oracle"}
    assert np.isfinite(table["loss"]).all()
    alone = compare(X, y, pool, cv=outer, random_state=0).frame().set_index("name")
    assert table["loss"]["ridge"] == pytest.approx(alone["loss"]["ridge"])
    assert table["loss"]["near"] == pytest.approx(alone["loss"]["near"])


# --- scoring --------------------------------------------------------------------------------------------


def test_a_score_that_a_fold_of_one_class_has_none_of():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(30, int), np.arange(60) % 2]
    X = rng.standard_normal((90, 2)) + y[:, None]
    parts = np.split(np.arange(90), 3)
    cv = [(np.setdiff1d(np.arange(90), part), part) for part in parts]
    pool = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    mixture = MixtureClassifier(pool, specialize=False, scoring="roc_auc", cv=cv, random_state=0).fit(X, y)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert np.isfinite(mixture.candidates_[["loss", "gain", "standard_error"]].to_numpy()).all()
    answers = mixture.oof_predictions_[:, :2, 1]
    scores = [np.mean([roc_auc_score(y[part], answers[part, k]) for part in parts[1:]]) for k in range(2)]
    assert loss["best single"] == pytest.approx(-max(scores)), "the folds that have a score are averaged"
    assert "nan" not in str(mixture.verdict_)
    table = compare(X, y, pool, cv=cv, scoring="roc_auc", random_state=0).frame()
    assert np.isfinite(table["loss"]).all()


# --- names ----------------------------------------------------------------------------------------------


def test_a_parameter_of_an_expert_by_name_says_what_to_do():
    for experts in (["ridge", "tree"], ["ridge", TREE]):
        mixture = MixtureRegressor(experts)
        with pytest.raises(ValueError, match="estimator") as caught:
            mixture.set_params(ridge__alpha=2.0)
        assert "ridge" in str(caught.value)
        assert mixture.experts is experts, "what was asked in vain changes nothing"
    changed = MixtureRegressor([("ridge", Ridge()), "tree"]).set_params(ridge__alpha=2.0)
    assert dict(changed.experts[:1])["ridge"].alpha == 2.0


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
    names = [name for name, _ in name_experts(experts)]
    assert len(set(names)) == len(experts)
    for name, expert in zip(names, experts, strict=True):
        assert name == expert[0] if isinstance(expert, tuple) else name.startswith("ridge")
    X, y = _rows(60)
    mixture = MixtureRegressor(experts, specialize=False, cv=2, random_state=0).fit(X, y)
    assert list(mixture.named_experts_) == [*names, "stack"]
