"""Experts, gates and final estimators see the user's labels; fitted classifiers are aligned by theirs."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from metamix import MixtureClassifier, compare, fit_predictions
from metamix.gates import ClassifierGate

KINDS = [[1, 2], ["no", "yes"], [True, False], [-1.0, 3.0]]
FAST = {"cv": 2, "random_state": 0, "gate": "constant"}
TREE = DecisionTreeClassifier(max_depth=2, random_state=0)


def _table(labels, n=60, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % len(labels))
    return rng.standard_normal((n, 2)) + codes[:, None], np.unique(labels)[codes]


def _heavy(labels, k=0):
    weight = dict.fromkeys(np.unique(labels).tolist(), 1.0)
    weight[np.unique(labels).tolist()[k]] = 20.0
    return LogisticRegression(class_weight=weight)


@pytest.mark.parametrize("labels", KINDS, ids=str)
def test_weights_of_classes_reach_these_classes(labels):
    X, y = _table(labels)
    for expert in (_heavy(labels), make_pipeline(StandardScaler(), _heavy(labels))):
        expected = clone(expert).fit(X, y).predict_proba(X)
        assert expected[:, 1].mean() < 0.25
        pool = [("heavy", expert), ("tree", TREE)]
        mixture = MixtureClassifier(pool, specialize=False, on_error="raise", **FAST).fit(X, y)
        np.testing.assert_allclose(mixture.predict_experts(X)[:, 0], expected)
        folds = [(np.flatnonzero(mixture.fold_of_row_ != f), np.flatnonzero(mixture.fold_of_row_ == f)) for f in (0, 1)]
        held_out = np.empty_like(expected)  # cross_val_predict would encode y before it fits
        for train, test in folds:
            held_out[test] = clone(expert).fit(X[train], y[train]).predict_proba(X[test])
        np.testing.assert_allclose(mixture.oof_predictions_[:, 0], held_out)


def test_weights_of_classes_in_every_kind_of_fit():
    """Of two classes that X does not tell apart the heavy one has nearly all probability."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 2)), rng.permutation(np.repeat([1, 2], 50))
    pool = [("one", _heavy(y)), ("two", _heavy(y).set_params(C=0.1))]
    for parameters in ({"specialize": True}, {"specialize": True, "cv": None}, {"specialize": False, "refit": False}):
        settings = {**FAST, "max_rounds": 1, "start": "kmeans", **parameters}
        mixture = MixtureClassifier(pool, on_error="raise", **settings).fit(X, y)
        for _, name in enumerate(["one", "two"]):
            k = list(mixture.named_experts_).index(name)
            assert mixture.predict_experts(X)[:, k, 0].mean() > 0.9
    inner = MixtureClassifier(pool, specialize=False, **FAST)
    outer = MixtureClassifier([("inner", inner), ("tree", TREE)], specialize=False, on_error="raise", **FAST).fit(X, y)
    assert outer.experts_[0].predict_experts(X)[:, :2, 0].mean() > 0.9


@pytest.mark.parametrize("labels", [[1, 2]], ids=str)
def test_compare_and_the_final_estimator_see_labels(labels):
    X, y = _table(labels)
    cv = StratifiedKFold(2)
    table = compare(X, y, [("heavy", _heavy(labels)), ("tree", TREE)], cv=cv, random_state=0).frame().set_index("name")
    held_out = np.empty((len(y), 2))
    for train, test in cv.split(X, y):
        held_out[test] = _heavy(labels).fit(X[train], y[train]).predict_proba(X[test])
    assert table["loss"]["heavy"] == pytest.approx(log_loss(y, held_out))
    found = {}
    for k in range(2):
        parameters = {"final_estimator": _heavy(labels, k), "specialize": False, "on_error": "raise", **FAST}
        mixture = MixtureClassifier([("line", LogisticRegression()), ("tree", TREE)], **parameters).fit(X, y)
        found[k] = mixture.predict_experts(X)[:, list(mixture.named_experts_).index("stack"), 1].mean()
        given = mixture.oof_predictions_[:, :2]
        alone = fit_predictions(given, X, y, final_estimator=_heavy(labels, k), **FAST)
        share = alone.oof_predictions_[:, alone.names_.index("stack"), 1].mean()
        assert (share < 0.4, share > 0.6) == (k == 0, k == 1)
    assert found[0] < 0.4 < 0.6 < found[1]


def test_weights_of_experts_reach_these_experts_in_a_gate():
    """The classes of a gate are the experts 0, 1, …; one that explains no row has no class."""
    X = np.random.default_rng(0).standard_normal((60, 2))
    shares = np.zeros((60, 3))
    shares[np.arange(60), np.repeat([0, 2], 30)] = 1.0
    gate = ClassifierGate(LogisticRegression(class_weight={0: 1.0, 2: 20.0})).fit(X, shares)
    assert gate.experts_.tolist() == [0, 2]
    assert gate.predict_proba(X)[:, 2].mean() > 0.9


def _lacking(y, label):
    """Folds of which the first trains on no row of a class."""
    of_class = np.flatnonzero(y == label)
    rest = np.flatnonzero(y != label)
    first = np.r_[of_class, rest[: len(rest) // 2]]
    return [(np.setdiff1d(np.arange(len(y)), first), first), (first, np.setdiff1d(np.arange(len(y)), first))]


@pytest.mark.filterwarnings("ignore:A FrozenEstimator")
@pytest.mark.parametrize(
    ("known", "specialize"),
    [
        (["ant", "bee"], False),
        (["bee", "cow"], False),
        (["ant", "bee", "cow"], False),
        (["cow", "bee", "dog"], False),
        (["ant", "bee", "cow"], True),
        (["bee", "cow"], "auto"),
    ],
)
def test_fitted_classifiers_are_aligned_by_their_classes(known, specialize):
    X, y = _table(["ant", "bee", "cow"], 90)
    X_known, y_known = _table(known, 60, 1)
    model = LogisticRegression().fit(X_known, y_known)
    expected = np.zeros((90, 3))
    for j, label in enumerate(model.classes_):
        if label != "dog":
            expected[:, ["ant", "bee", "cow"].index(label)] = model.predict_proba(X)[:, j]
    expected /= expected.sum(axis=1, keepdims=True)
    pool = [("frozen", FrozenEstimator(model)), ("line", LogisticRegression())]
    regimes = {} if specialize is False else {"start": "kmeans", "max_rounds": 1, "n_experts": 2}
    settings = {**FAST, "cv": _lacking(y, "cow"), "specialize": specialize, "on_error": "raise", **regimes}
    mixture = MixtureClassifier(pool, **settings).fit(X, y)
    assert not len(mixture.failures_)
    if specialize is True:
        return
    k = list(mixture.named_experts_).index("frozen")
    np.testing.assert_allclose(mixture.predict_experts(X)[:, k], expected)
    if specialize is False:
        np.testing.assert_allclose(mixture.oof_predictions_[:, k], expected)


@pytest.mark.filterwarnings("ignore:A FrozenEstimator")
def test_a_fitted_classifier_of_other_classes_is_refused_by_name():
    X, y = _table(["ant", "cow"])
    model = LogisticRegression().fit(*_table(["bee", "elk"]))
    pool = [("other", FrozenEstimator(model)), ("line", LogisticRegression())]
    with pytest.warns(FitFailedWarning, match=r"other \(ValueError: .*'bee', 'elk', and y has 'ant', 'cow'"):
        mixture = MixtureClassifier(pool, specialize=False, **FAST).fit(X, y)
    assert "other" not in mixture.named_experts_
    with pytest.raises(ValueError, match="'bee', 'elk'"):
        MixtureClassifier(pool, specialize=False, on_error="raise", **FAST).fit(X, y)
    with pytest.raises(ValueError, match="'bee', 'elk'"):
        compare(X, y, pool[:1], cv=KFold(2))


class CodesOnly(LogisticRegression):
    """Takes no labels but 0, 1, …, as XGBoost's classifier."""

    def fit(self, X, y, sample_weight=None):
        if not np.array_equal(np.unique(y), np.arange(len(np.unique(y)))):
            raise ValueError("Invalid classes inferred from unique values of y")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_parameters_that_name_classes_end_the_fit_where_only_codes_are_taken(specialize):
    """Dropped among other experts, the mistake would be overlooked."""
    X, y = _table(["no", "yes"])
    pool = [("codes", CodesOnly(class_weight={"yes": 20.0, "no": 1.0})), ("tree", TREE)]
    settings = {**FAST, "specialize": specialize, "start": "kmeans", "max_rounds": 1}
    with pytest.raises(ValueError, match=r"CodesOnly cannot be fitted.*class_weight=.*sample_weight") as caught:
        MixtureClassifier(pool, **settings).fit(X, y)
    assert any("expert codes" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match="class_weight"):
        compare(X, y, pool, cv=2)
    with pytest.raises(ValueError, match="class_weight"):
        MixtureClassifier([("tree", TREE)], final_estimator=pool[0][1], **{**FAST, "specialize": False}).fit(X, y)
    pool[0] = ("codes", CodesOnly(class_weight="balanced"))
    assert not len(MixtureClassifier(pool, **{**settings, "specialize": False}).fit(X, y).failures_)


def test_wrappers_fit_several_labels_one_by_one():
    X, y = _table([0, 1])
    several = np.column_stack([y, X[:, 1] > 0]).astype(int)
    mixture = MixtureClassifier([("line", LogisticRegression()), ("tree", TREE)], specialize=False, **FAST)
    found = MultiOutputClassifier(mixture).fit(X, several).predict_proba(X)
    for t in range(2):
        np.testing.assert_allclose(found[t], clone(mixture).fit(X, several[:, t]).predict_proba(X))
    assert ClassifierChain(mixture).fit(X, several).predict(X).shape == (60, 2)
