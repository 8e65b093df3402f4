"""Tools of scikit-learn around a mixture: search, cross-validation, pipelines; parameters by name."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, make_regimes
from metamix.gates import GaussianGate, SoftmaxGate

NUMBERS = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
FAST = {"gate": SoftmaxGate(penalty=0.1), "cv": 2}


def small(task="regression", n=120):
    return make_regimes(n, 3, task=task, random_state=3)


def fitted(specialize, task="regression", **parameters):
    X, y = small(task)
    face, pool = (MixtureRegressor, NUMBERS) if task == "regression" else (MixtureClassifier, CLASSES)
    regimes = {} if specialize is False else {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
    return face(pool, specialize=specialize, random_state=0, **{**FAST, **regimes, **parameters}).fit(X, y), X, y


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("specialize", [True, False, "auto"])
def test_rows_do_not_see_each_other(specialize, task):
    mixture, X, y = fitted(specialize, task)
    order = np.random.default_rng(0).permutation(len(X))
    methods = ["predict", "gate_weights", "predict_experts"] + ["predict_proba"] * (task == "classification")
    for method in methods:
        together = getattr(mixture, method)(X)
        np.testing.assert_allclose(getattr(mixture, method)(X[order]), together[order], rtol=1e-9, atol=1e-12)
        alone = np.concatenate([getattr(mixture, method)(X[[i]]) for i in range(10)])
        np.testing.assert_allclose(alone, together[:10], rtol=1e-9, atol=1e-12)
    together = mixture.log_prob(X, y)
    np.testing.assert_allclose(mixture.log_prob(X[::-2], y[::-2]), together[::-2], rtol=1e-9)


def test_grid_search_reaches_inside_an_expert_by_its_name():
    X, y = small()
    mixture = MixtureRegressor([("ridge", Ridge()), ("near", KNeighborsRegressor())], specialize=False, **FAST)
    search = GridSearchCV(mixture, {"ridge__alpha": [1e-3, 1e5], "near__n_neighbors": [3]}, cv=2).fit(X, y)
    named = search.best_estimator_.named_experts_
    assert named["near"].n_neighbors == 3
    assert named["ridge"].alpha == search.best_params_["ridge__alpha"]
    assert mixture.experts[1][1].n_neighbors == 5, "searching must not change the user's own estimators"


def test_grid_search_tries_whole_experts():
    X = small()[0]
    y = X @ [1.0, 2.0, 3.0]
    mixture = MixtureRegressor([("one", DummyRegressor()), ("two", DummyRegressor())], specialize=False, **FAST)
    options = {"one": [DummyRegressor(), Ridge()]}
    search = GridSearchCV(mixture, options, cv=2).fit(X, y)
    assert type(search.best_estimator_.named_experts_["one"]) is Ridge, "the others predict the mean"


def test_cross_validation_and_pipelines_around_a_mixture():
    X, y = small()
    mixture = MixtureRegressor(NUMBERS, specialize=False, random_state=0, **FAST)
    halves = [(np.arange(60), np.arange(60, 120)), (np.arange(60, 120), np.arange(60))]
    by_hand = [clone(mixture).fit(X[train], y[train]).score(X[test], y[test]) for train, test in halves]
    np.testing.assert_array_equal(cross_val_score(mixture, X, y, cv=halves), by_hand)
    around = make_pipeline(StandardScaler(), mixture)
    scaled = StandardScaler().fit(X)
    np.testing.assert_array_equal(
        around.fit(X, y).predict(X), clone(mixture).fit(scaled.transform(X), y).predict(scaled.transform(X))
    )
    X, y = small("classification")
    classes = MixtureClassifier(CLASSES, specialize=False, random_state=0, **FAST)
    shares = cross_val_predict(classes, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"gate": ["softmax", SoftmaxGate(penalty=0.1), GaussianGate()], "specialize": [True]}, "gate_weights"),
        ({"top_k": [None, 1], "specialize": [True]}, "gate_weights"),
        ({"final": ["blend", "best", "simplest"], "specialize": [False]}, "gate_weights"),
        ({"ridge__alpha": [1e-3, 1e5], "tree__max_depth": [1, 4], "specialize": [False]}, "predict_experts"),
    ],
)
def test_grid_search_over_gate_top_k_final_and_inside_experts(options, changes):
    """Each score is that of a mixture which was made with these parameters; and they make a difference."""
    X, y = small()
    folds = [(np.arange(60), np.arange(60, 120)), (np.arange(60, 120), np.arange(60))]
    pool = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
    settings = {**FAST, "start": "kmeans", "max_rounds": 1, "random_state": 0}
    search = GridSearchCV(MixtureRegressor(pool, **settings), options, cv=folds, error_score="raise").fit(X, y)
    found = []
    for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        inside = {name: params[name] for name in params if "__" in name}
        experts = [(name, clone(one)) for name, one in pool]
        for name, value in inside.items():
            expert, _, parameter = name.partition("__")
            setattr(dict(experts)[expert], parameter, value)
        own = {name: params[name] for name in params if name not in inside}
        by_hand = [MixtureRegressor(experts, **settings | own).fit(X[train], y[train]) for train, _ in folds]
        scores = [one.score(X[test], y[test]) for one, (_, test) in zip(by_hand, folds, strict=True)]
        assert score == pytest.approx(np.mean(scores), abs=1e-12)
        found.append(getattr(by_hand[0], changes)(X))
    assert all(one.shape != found[0].shape or not np.array_equal(one, found[0]) for one in found[1:])
    best = search.best_estimator_.get_params()
    assert all(best[name] is value or repr(best[name]) == repr(value) for name, value in search.best_params_.items())


# --- before fit -----------------------------------------------------------------------------------------

WITH_X = ["predict", "gate_weights", "predict_experts", "transform", "assign", "predict_variance", "predict_gradient",
          "sample", "predict_interval"]  # fmt: skip


@pytest.mark.parametrize("method", WITH_X)
def test_methods_before_fit_say_so(method):
    with pytest.raises(NotFittedError):
        getattr(MixtureRegressor(NUMBERS), method)(small()[0])


@pytest.mark.parametrize("method", ["log_prob", "responsibilities"])
def test_methods_that_take_y_say_so_before_fit(method):
    for kind, pool, task in ((MixtureRegressor, NUMBERS, "regression"), (MixtureClassifier, CLASSES, "classification")):
        with pytest.raises(NotFittedError):
            getattr(kind(pool), method)(*small(task))


# --- parameters -----------------------------------------------------------------------------------------


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


def test_parameters_of_an_invalid_pool_can_be_read():
    assert MixtureRegressor([("a", Ridge(), 3)]).get_params()["cv"] == 5
    assert "no such expert" in repr(MixtureRegressor(["no such expert"]))


@pytest.mark.parametrize("experts", [["ridge", "tree"], ["ridge", DecisionTreeRegressor()]])
def test_a_parameter_of_an_expert_by_name_is_refused_with_a_remedy(experts):
    mixture = MixtureRegressor(experts)
    with pytest.raises(ValueError, match=r"'ridge' is given by name.*give an estimator"):
        mixture.set_params(ridge__alpha=2.0)
    assert mixture.experts is experts, "nothing is changed"
    changed = MixtureRegressor([("ridge", Ridge()), "tree"]).set_params(ridge__alpha=2.0)
    assert dict(changed.experts[:1])["ridge"].alpha == 2.0


# --- experts that are left out -------------------------------------------------------------------


@pytest.mark.parametrize("specialize", [False, True])
def test_an_expert_that_is_dropped_takes_no_part(specialize):
    X, y = make_regimes(80, random_state=0)
    settings = {"cv": 2, "gate": "constant", "random_state": 0, "max_rounds": 1, "specialize": specialize}
    pool = [("a", Ridge()), ("b", Ridge(10.0)), ("c", Ridge(30.0))]
    mixture = MixtureRegressor(pool, **settings).set_params(b="drop")
    assert mixture.get_params()["b"] == "drop"
    assert "b__alpha" not in mixture.get_params()
    dropped = clone(mixture).fit(X, y)
    alone = MixtureRegressor([pool[0], pool[2]], **settings).fit(X, y)
    assert list(dropped.named_experts_) == list(alone.named_experts_)
    np.testing.assert_allclose(dropped.predict(X), alone.predict(X))
    again = mixture.set_params(b=Ridge(10.0)).fit(X, y)
    np.testing.assert_allclose(again.predict(X), MixtureRegressor(pool, **settings).fit(X, y).predict(X))


def test_what_is_dropped_can_be_searched_and_compared():
    X, y = make_regimes(60, random_state=0)
    pool = [("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=2, random_state=0))]
    mixture = MixtureRegressor(pool, cv=2, gate="constant", specialize=False, random_state=0)
    search = GridSearchCV(mixture, {"b": ["drop", Ridge(5.0)]}, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 2
    names = compare(X, y, [pool[0], ("b", "drop")], cv=2, random_state=0).frame()["name"].tolist()
    assert "a" in names
    assert "b" not in names


def test_experts_by_name_and_of_the_default_can_be_dropped():
    assert MixtureRegressor(["ridge", "forest"]).set_params(forest="drop")._resolve_experts()[0][0] == "ridge"
    names = [name for name, _ in MixtureRegressor()._resolve_experts()]
    kept = [name for name, _ in MixtureRegressor().set_params(**{names[0]: "drop"})._resolve_experts()]
    assert kept == names[1:]
    with pytest.raises(ValueError, match="every expert is dropped"):
        MixtureRegressor(["ridge"]).set_params(ridge="drop").fit(np.zeros((9, 1)), np.arange(9.0))
    with pytest.raises(ValueError, match=r"'ridge' is dropped.*set_params\(ridge=estimator\)"):
        MixtureRegressor(["ridge"]).set_params(ridge="drop").set_params(ridge__alpha=2)
