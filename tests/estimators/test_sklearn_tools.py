"""scikit-learn's own opinion: its estimator checks, and the tools that people put around an estimator."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

NUMBERS = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]

# The density of y given x needs y; these two checks call every method they know with X alone. What they
# ask of the other methods is asked below, by test_rows_do_not_see_each_other.
NEEDS_Y = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
    "score_samples(X, y) is the log density of y given x; the check calls it without y",
)


def _checked():
    for specialize in (True, False):
        yield MixtureRegressor(NUMBERS, cv=2, specialize=specialize, random_state=0)
        yield MixtureClassifier(CLASSES, cv=2, specialize=specialize, random_state=0)
    yield MixtureRegressor(NUMBERS, cv=2, specialize="auto", random_state=0)
    # The checks have few rows for numbers, where one regime is all there can be, but enough for classes:
    # there two regimes from clusters and one penalty keep a check under a second. Defaults are in benchmarks/.
    brief = {"n_experts": 2, "start": "kmeans", "max_rounds": 1, "gate": SoftmaxGate(penalty=0.1)}
    yield MixtureClassifier(CLASSES, cv=2, specialize="auto", random_state=0, **brief)


@pytest.mark.filterwarnings("ignore")  # the checks feed integers as floats, one row, one feature, on purpose
@parametrize_with_checks(list(_checked()), expected_failed_checks=lambda estimator: NEEDS_Y)
def test_estimator_checks(estimator, check):
    check(estimator)


def _small(task="regression", n=120):
    return make_regimes(n, 3, task=task, random_state=3)


def _fit(specialize, task="regression", **parameters):
    X, y = _small(task)
    face, pool = (MixtureRegressor, NUMBERS) if task == "regression" else (MixtureClassifier, CLASSES)
    parameters = {"cv": 2, "random_state": 0, "n_experts": None if specialize is False else 2, **parameters}
    return face(pool, specialize=specialize, start="kmeans", **parameters).fit(X, y), X, y


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("specialize", [True, False, "auto"])
def test_rows_do_not_see_each_other(specialize, task):
    mixture, X, _ = _fit(specialize, task)
    order = np.random.default_rng(0).permutation(len(X))
    methods = ["predict", "gate_weights", "predict_experts"] + ["predict_proba"] * (task == "classification")
    for method in methods:
        together = getattr(mixture, method)(X)
        np.testing.assert_allclose(getattr(mixture, method)(X[order]), together[order], rtol=1e-9, atol=1e-12)
        alone = np.concatenate([getattr(mixture, method)(X[[i]]) for i in range(20)])
        np.testing.assert_allclose(alone, together[:20], rtol=1e-9, atol=1e-12)


def test_density_does_not_depend_on_the_other_rows():
    mixture, X, y = _fit(True)
    together = mixture.score_samples(X, y)
    np.testing.assert_allclose(mixture.score_samples(X[::-2], y[::-2]), together[::-2], rtol=1e-9)


def test_grid_search_reaches_inside_an_expert_by_its_name():
    X, y = _small()
    mixture = MixtureRegressor([("ridge", Ridge()), ("near", KNeighborsRegressor())], specialize=False, cv=2)
    search = GridSearchCV(mixture, {"ridge__alpha": [1e-3, 1e5], "near__n_neighbors": [3]}, cv=2).fit(X, y)
    fitted = search.best_estimator_.named_experts_
    assert fitted["near"].n_neighbors == 3
    assert fitted["ridge"].alpha == search.best_params_["ridge__alpha"]
    assert mixture.experts[1][1].n_neighbors == 5, "searching must not change the user's own estimators"


def test_grid_search_tries_whole_experts():
    X, y = _small()
    mixture = MixtureRegressor([("one", Ridge()), ("two", Ridge(10.0))], specialize=False, cv=2)
    options = {"one": [Ridge(), DecisionTreeRegressor(max_depth=2, random_state=0)]}
    search = GridSearchCV(mixture, options, cv=2).fit(X, y)
    assert isinstance(search.best_estimator_.named_experts_["one"], type(search.best_params_["one"]))


def test_cross_validation_and_pipelines_around_a_mixture():
    X, y = _small()
    mixture = MixtureRegressor(NUMBERS, specialize=False, cv=2, random_state=0)
    halves = [(np.arange(60), np.arange(60, 120)), (np.arange(60, 120), np.arange(60))]
    by_hand = [clone(mixture).fit(X[train], y[train]).score(X[test], y[test]) for train, test in halves]
    np.testing.assert_array_equal(cross_val_score(mixture, X, y, cv=halves), by_hand)
    around = make_pipeline(StandardScaler(), mixture)
    scaled = StandardScaler().fit(X)
    np.testing.assert_array_equal(
        around.fit(X, y).predict(X), clone(mixture).fit(scaled.transform(X), y).predict(scaled.transform(X))
    )
    X, y = _small("classification")
    classes = MixtureClassifier(CLASSES, specialize=False, cv=2, random_state=0)
    shares = cross_val_predict(classes, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_mixture_may_be_an_expert_of_a_mixture():
    X, y = _small()
    inner = MixtureRegressor(NUMBERS, specialize=True, start="kmeans", cv=2)
    outer = MixtureRegressor([("inner", inner), ("near", KNeighborsRegressor())], specialize=False, cv=2)
    outer.set_params(inner__ridge__alpha=7.0, random_state=0).fit(X, y)
    assert outer.named_experts_["inner"].named_experts_["ridge"].alpha == 7.0
    np.testing.assert_array_equal(outer.predict_experts(X)[:, 0], outer.named_experts_["inner"].predict(X))


def test_clone_copies_parameters_and_nothing_else():
    mixture, _, _ = _fit(False)
    copy = clone(mixture)
    assert not hasattr(copy, "experts_")
    assert str(copy.get_params()) == str(mixture.get_params())
    assert copy.get_params()["ridge"] is not mixture.get_params()["ridge"]


@pytest.mark.parametrize("specialize", [True, False, "auto"])
def test_pickled_mixtures_answer_to_the_last_bit(specialize):
    mixture, X, y = _fit(specialize)
    again = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(again.predict(X), mixture.predict(X))
    np.testing.assert_array_equal(again.score_samples(X, y), mixture.score_samples(X, y))


def test_parameters_have_nested_names():
    mixture = MixtureRegressor([("ridge", Ridge(alpha=2.0)), DecisionTreeRegressor(max_depth=4)])
    params = mixture.get_params()
    assert params["ridge__alpha"] == 2.0
    assert params["decisiontreeregressor__max_depth"] == 4
    assert "ridge__alpha" not in mixture.get_params(deep=False)
    other = Ridge(alpha=5.0)
    mixture.set_params(ridge=other, ridge__alpha=6.0, cv=3)
    assert mixture.get_params()["ridge"] is other
    assert (other.alpha, mixture.cv) == (6.0, 3)
    with pytest.raises(ValueError, match="no_such"):
        mixture.set_params(no_such=1)
    with pytest.raises(ValueError, match="alphabet"):
        mixture.set_params(ridge__alphabet=1)


def test_setting_experts_and_their_parameters_at_once():
    mixture = MixtureRegressor([("old", Ridge())])
    mixture.set_params(experts=[("new", Ridge())], new__alpha=3.0)
    assert mixture.get_params()["new__alpha"] == 3.0
    assert "old" not in mixture.get_params()


def test_looking_at_parameters_of_a_broken_pool_does_not_raise():
    assert MixtureRegressor([("a", Ridge(), 3)]).get_params()["cv"] == 5
    assert "experts" in repr(MixtureRegressor(["no such expert"]))


def test_fit_leaves_parameters_alone():
    X, y = _small()
    tree = DecisionTreeRegressor(max_depth=2)
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", tree)], cv=2, specialize=False, random_state=0)
    mixture.fit(X, y)
    assert tree.random_state is None
    assert not hasattr(tree, "tree_")
    assert mixture.named_experts_["tree"].random_state is not None, "an expert without a seed gets one"
