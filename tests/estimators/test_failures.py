"""Experts that fail: dropped and recorded, or the end of the fit."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, RepeatedKFold, StratifiedKFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, make_regimes
from metamix.datasets import load_example
from metamix.gates import SoftmaxGate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
RIDGE, TREE = Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)
EVERY = pytest.mark.parametrize("specialize", [False, True, "auto"])


def settings(specialize):
    regimes = {} if specialize is False else {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
    return {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1), "specialize": specialize, **regimes}


def table(n=120):
    return make_regimes(n, 4, random_state=2)


class Broken(RegressorMixin, BaseEstimator):
    def __init__(self, how="raises"):
        self.how = how

    def fit(self, X, y):
        if self.how == "raises":
            raise MemoryError("the table is too big")
        return self

    def predict(self, X):
        return np.full(len(X), np.nan)


@pytest.mark.parametrize("how", ["raises", "predicts NaN"])
@EVERY
def test_a_failing_expert_is_dropped_and_recorded(specialize, how):
    X, y = table()
    parameters = settings(specialize)
    mixture = MixtureRegressor([("bad", Broken(how)), ("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert "bad" not in mixture.named_experts_
    assert set(mixture.failures_["expert"]) == {"bad"}
    assert mixture.failures_["error"].str.contains("too big|NaN").all()
    alone = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert list(alone.named_experts_) == list(mixture.named_experts_)
    assert np.isfinite(mixture.predict(X)).all()
    if specialize is not True:
        assert "bad" in str(mixture.verdict_)


def test_a_dropped_expert_warns_once_with_its_error():
    X, y = table()
    pool = [("bad", Broken()), ("ridge", RIDGE), ("tree", TREE)]
    with pytest.warns(FitFailedWarning, match=r"bad \(MemoryError: the table is too big\).*on_error='raise'") as caught:
        MixtureRegressor(pool, **settings(False)).fit(X, y)
    assert len(caught) == 1


@pytest.mark.parametrize("on_error", ["drop", "raise"])
def test_nested_fits_only_judge_and_nothing_is_lost_if_one_fails(on_error):
    """With three folds of 120 rows they have 40 rows."""

    class Choosy(Ridge):
        def fit(self, X, y, sample_weight=None):
            if len(X) < 80:
                raise ValueError("too few rows")
            return super().fit(X, y)

    X, y = table()
    pool = [("choosy", Choosy()), ("ridge", RIDGE)]
    mixture = MixtureRegressor(pool, specialize=False, cv=3, random_state=0, on_error=on_error).fit(X, y)
    assert list(mixture.named_experts_)[:2] == ["choosy", "ridge"]
    assert not len(mixture.failures_)
    said = "was left out: a fit without the rows of two folds failed (choosy: too few rows)."
    assert said in str(mixture.verdict_)


def test_an_expert_that_fails_only_on_all_rows_is_dropped_too():
    class Big(Ridge):
        def fit(self, X, y, sample_weight=None):
            if len(X) > 100:
                raise MemoryError("too big")
            return super().fit(X, y, sample_weight)

    X, y = table()
    for specialize in (False, True):
        pool = [("big", Big()), ("ridge", RIDGE), ("tree", TREE)]
        mixture = MixtureRegressor(pool, **{**settings(specialize), "n_experts": None, "start": "uniform"})
        mixture.fit(X, y)
        assert "big" not in mixture.named_experts_
        assert mixture.failures_["fold"].tolist() == [-1]
        assert list(mixture.named_experts_)[:2] == ["ridge", "tree"]
        assert mixture.gate_weights(X).shape == (120, 5 if specialize is False else 2)


@EVERY
def test_raise_means_raise(specialize):
    parameters = settings(specialize)
    with pytest.raises(MemoryError, match="too big") as caught:
        MixtureRegressor([("bad", Broken()), ("ridge", RIDGE)], on_error="raise", **parameters).fit(*table())
    assert any("bad" in note for note in caught.value.__notes__)


@EVERY
def test_if_all_fail_one_error_says_why_each_did(specialize):
    parameters = settings(specialize)
    with pytest.raises(ValueError, match=r"every expert failed.*one: MemoryError.*two: ValueError.*NaN"):
        MixtureRegressor([("one", Broken()), ("two", Broken("predicts NaN"))], **parameters).fit(*table())


class FailsOnSevens(Ridge):
    """Fails, once fitted to 60 rows, at the one row whose last column is 7: a test row of the first outer fold."""

    def __init__(self, how="raises", alpha=1.0):
        super().__init__(alpha)
        self.how = how

    def fit(self, X, y, sample_weight=None):
        self.rows_ = len(X)
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        predicted = super().predict(X)
        odd = X[:, -1] == 7
        if self.rows_ == 60 and odd.any():
            if self.how == "raises":
                raise OSError("cannot look at sevens")
            predicted[odd] = np.nan
        return predicted


@pytest.mark.parametrize("how", ["raises", "predicts NaN"])
def test_compare_goes_on_without_an_expert_that_fails_on_outer_test_rows(how):
    X, y = make_regimes(90, 3, random_state=0)
    outer = KFold(3)
    X = np.column_stack([X, np.zeros(90)])
    X[4, -1] = 7
    pool = [("ridge", RIDGE), ("near", KNeighborsRegressor(5))]
    result = compare(X, y, [("fails on sevens", FailsOnSevens(how)), *pool], cv=outer, random_state=0)
    table = result.frame().set_index("name")
    assert "fails on sevens" not in table.index
    assert "fails on sevens" in {failure.expert for failure in result.failures}
    assert set(table.index) >= {"ridge", "near", "stacking", "mixture", "oracle"}
    assert np.isfinite(table["loss"]).all()
    alone = compare(X, y, pool, cv=outer, random_state=0).frame().set_index("name")
    assert table["loss"]["ridge"] == pytest.approx(alone["loss"]["ridge"])
    assert table["loss"]["near"] == pytest.approx(alone["loss"]["near"])


def test_a_final_estimator_that_refuses_few_rows_is_not_nested():
    X, y = table(60)
    mixture = MixtureRegressor([RIDGE, TREE], final_estimator=KNeighborsRegressor(30), cv=3, specialize=False)
    assert "a fit without the rows of two folds failed" in str(mixture.set_params(random_state=0).fit(X, y).verdict_)


def test_folds_that_cannot_be_divided_once_more_are_not_nested():
    """Their held-out rows overlap, so that stacks are fitted on other folds than experts."""
    X, _ = table(60)
    noise, rest = np.random.default_rng(0).standard_normal(60), np.arange(20, 60)
    folds = [(np.r_[10, rest], np.arange(10)), (np.r_[0, rest], np.arange(5, 15))]
    mixture = MixtureRegressor([RIDGE, KNeighborsRegressor()], cv=folds, specialize=False, random_state=0)
    said = "was left out: the rows of a fold cannot be divided once more."
    assert said in str(mixture.fit(X, noise).verdict_)


@pytest.mark.parametrize("error", [RuntimeError, IndexError])
def test_a_splitter_made_for_these_rows_alone_is_replaced_within_a_fold(error):
    class Halves:
        def split(self, X, y=None, groups=None):
            if len(X) != 60:
                raise error("made for 60 rows")
            yield np.arange(30), np.arange(30, 60)
            yield np.arange(30, 60), np.arange(30)

    X, y = table(60)
    mixture = MixtureRegressor([RIDGE, TREE], cv=Halves(), random_state=0, n_experts=2, start="kmeans", max_rounds=1)
    assert np.isfinite(mixture.fit(X, y).predict(X)).all()


def test_the_folds_that_need_nesting_are_counted_and_not_those_of_repeats():
    X, _ = table(60)
    y = X[:, 0] + np.random.default_rng(0).standard_normal(60)
    said = {}
    for cv in (RepeatedKFold(n_splits=3, n_repeats=10, random_state=0), KFold(30), TimeSeriesSplit(25)):
        pool = [("weak", RIDGE), ("strong", Ridge(20.0))]  # two that hardly differ
        mixture = MixtureRegressor(pool, cv=cv, specialize=False, gate="constant", random_state=0)
        said[type(cv)] = mixture.fit(X, y).verdict_.not_nested
    assert not said[RepeatedKFold]
    assert said[KFold] == "it would take 435 fits of every expert"
    assert said[TimeSeriesSplit].startswith("no model has seen the rows")


# --- parts that cannot be cloned -----------------------------------------------------------------


class Unclonable(Ridge):
    """Stores another parameter than the one given, as CatBoost does with cat_features."""

    def __init__(self, alpha=1.0):
        super().__init__(alpha=float(alpha) + 1)


class Unreadable(Ridge):
    """Refuses to be set up."""

    def __init__(self, alpha=1.0, random_state=None):
        super().__init__(alpha=alpha, random_state=random_state)

    def set_params(self, **parameters):
        raise AttributeError("no parameter of mine is set")


@EVERY
@pytest.mark.parametrize(("part", "says"), [(Unclonable(), "cannot be cloned"), (Unreadable(), "no parameter of mine")])
def test_an_expert_that_cannot_be_prepared_is_dropped_and_recorded(specialize, part, says):
    X, y = table(80)
    parameters = settings(specialize)
    mixture = MixtureRegressor([("bad", part), ("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert "bad" not in mixture.named_experts_
    assert set(mixture.failures_["expert"]) == {"bad"}
    assert mixture.failures_["error"].str.contains(says).all()
    alone = MixtureRegressor([("ridge", RIDGE), ("tree", TREE)], **parameters).fit(X, y)
    assert list(alone.named_experts_) == list(mixture.named_experts_)
    with pytest.raises(ValueError, match=says):
        MixtureRegressor([("bad", part), ("ridge", RIDGE)], on_error="raise", **parameters).fit(X, y)
    with pytest.raises(ValueError, match=f"every expert failed.*{says}"):
        MixtureRegressor([("bad", part)], **parameters).fit(X, y)


def test_compare_goes_on_without_an_expert_that_cannot_be_cloned():
    X, y = table(60)
    result = compare(X, y, [("bad", Unclonable()), ("ridge", RIDGE)], cv=2, random_state=0)
    assert "bad" not in set(result.frame()["name"])
    assert "cannot be cloned" in result.failures[0].error


def test_catboost_with_categorical_columns_is_dropped_where_it_cannot_be_cloned():
    catboost = pytest.importorskip("catboost")
    X, y = table(60)
    X[:, 0] = np.arange(60) % 3
    model = catboost.CatBoostRegressor(iterations=2, verbose=0, cat_features=[0], allow_writing_files=False)
    mixture = MixtureRegressor([("cat", model), ("ridge", RIDGE)], **settings(False)).fit(X, y)
    assert "ridge" in mixture.named_experts_
    assert ("cat" in mixture.named_experts_) != ("cat" in set(mixture.failures_["expert"]))


def test_a_gate_or_final_estimator_that_cannot_be_cloned_is_named():
    X, y = table(60)

    class Gate(DecisionTreeClassifier):
        def __init__(self, max_depth=2):
            super().__init__(max_depth=max_depth + 1)

    for parts in ({"gate": Gate()}, {"final_estimator": Unclonable()}):
        with pytest.raises(ValueError, match=r"(Gate|Unclonable) cannot be cloned.*__init__"):
            MixtureRegressor([("ridge", RIDGE)], **{**settings(False), **parts}).fit(X, y)


@pytest.mark.heavy
def test_no_expert_of_a_regime_is_left_without_rows_in_a_fold():
    # After one of three regimes was given up here, the other two had all their responsibilities in one fold each.
    X, y = load_example("breast_cancer")
    train, _ = next(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    mixture = MixtureClassifier(["logistic"], random_state=0, on_error="raise").fit(X.iloc[train], y[train])
    assert mixture.n_experts_ > 1
