"""State: what clone copies, what fit leaves alone, and what comes back from a pickle."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

NUMBERS = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
KINDS = [(specialize, kind) for specialize in (True, False, "auto") for kind in ("numbers", "targets", "classes")]
COPIES = {"pickle": lambda one: pickle.loads(pickle.dumps(one)), "deepcopy": copy.deepcopy}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def fitted(request):
    specialize, kind = request.param
    X, y = make_regimes(80, 3, task="classification" if kind == "classes" else "regression", random_state=3)
    y = np.column_stack([y, -y]) if kind == "targets" else y
    face, pool = (MixtureClassifier, CLASSES) if kind == "classes" else (MixtureRegressor, NUMBERS)
    regimes = {} if specialize is False else {"n_experts": 2, "start": "kmeans", "max_rounds": 1}
    settings = {"gate": SoftmaxGate(penalty=0.1), "cv": 2, "random_state": 0, "specialize": specialize}
    return face(pool, **settings, **regimes).fit(X, y), X, y


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_list_of_experts_that_fit_will_refuse_is_copied(duplicate):
    assert duplicate(MixtureRegressor([("alone",)])).experts == [("alone",)]
    assert duplicate(MixtureRegressor([Ridge])).experts == [Ridge]


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_predict_the_same_to_the_last_bit(fitted, duplicate):
    mixture, X, y = fitted
    again = duplicate(mixture)
    for method in ("predict", "gate_weights", "predict_experts"):
        np.testing.assert_array_equal(getattr(again, method)(X), getattr(mixture, method)(X))
    np.testing.assert_array_equal(again.log_prob(X, y), mixture.log_prob(X, y))
    np.testing.assert_array_equal(again.oof_predictions_, mixture.oof_predictions_)
    assert list(again.named_experts_) == list(mixture.named_experts_)
    assert str(again.verdict_) == str(mixture.verdict_)
    for name in ("history_", "failures_", "starts_"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(mixture, name), check_column_type=False)
    assert hasattr(again, "mixture_") == hasattr(mixture, "mixture_")
    if hasattr(mixture, "mixture_"):
        np.testing.assert_array_equal(again.mixture_.predict(X), mixture.mixture_.predict(X))
        assert again.mixture_ is again.named_experts_["mixture"]


def test_clone_copies_parameters_and_nothing_else(fitted):
    mixture, _, _ = fitted
    fresh = clone(mixture)
    assert set(vars(fresh)) == set(mixture.get_params(deep=False))
    assert str(fresh.get_params()) == str(mixture.get_params())
    assert fresh.get_params()["tree"] is not mixture.get_params()["tree"]


def test_fit_leaves_parameters_alone():
    X, y = make_regimes(80, 3, random_state=3)
    tree, gate = DecisionTreeRegressor(max_depth=2), SoftmaxGate(penalty=0.1)
    mixture = MixtureRegressor([("ridge", Ridge()), ("tree", tree)], gate=gate, cv=2, specialize=False, random_state=0)
    mixture.fit(X, y)
    assert tree.random_state is None
    assert not hasattr(tree, "tree_")
    assert set(vars(gate)) == set(gate.get_params())
    assert mixture.gate is gate
    assert mixture.named_experts_["tree"].random_state is not None, "an expert without a seed gets one"
