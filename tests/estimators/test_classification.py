"""Classes: labels of any kind, rare and missing classes, scores that some folds lack."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from metamix import MixtureClassifier, make_regimes
from metamix.gates import SoftmaxGate

CLASSES = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
FAST = {"cv": 2, "random_state": 0, "gate": SoftmaxGate(penalty=0.1)}


def settings(specialize, **parameters):
    regimes = {"start": "kmeans", "max_rounds": 1} if specialize is not False else {}
    regimes |= {"n_experts": 2} if specialize == "auto" else {}
    return {**FAST, "specialize": specialize, **regimes, **parameters}


@pytest.mark.parametrize("specialize", [False, True, "auto"])
def test_labels_of_any_kind_and_a_class_with_two_rows(specialize):
    rng = np.random.default_rng(0)
    codes = np.r_[np.zeros(100, int), np.ones(38, int), [2, 2]]
    X = rng.standard_normal((140, 3)) + 2 * codes[:, None]
    parameters = settings(specialize)
    expected = MixtureClassifier(CLASSES, **parameters).fit(X, codes)
    kinds = np.array(["low", "mid", "top"], object), np.array([-3, 5, 90]), np.array(["low", "mid", "top"])
    for labels in kinds[: 1 if specialize == "auto" else 3]:
        mixture = MixtureClassifier(CLASSES, **parameters).fit(X, labels[codes])
        assert mixture.classes_.tolist() == labels.tolist()
        assert mixture.classes_.dtype == labels.dtype
        np.testing.assert_array_equal(mixture.predict_proba(X), expected.predict_proba(X))
        np.testing.assert_array_equal(mixture.predict(X), labels[expected.predict(X)])
    assert not len(expected.failures_)
    assert (expected.predict(X) == codes).mean() > 0.9
    with pytest.raises(ValueError, match="not seen in fit: other"):
        mixture.log_prob(X[:1], ["other"])


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_class_missing_from_a_fold(library):
    module = pytest.importorskip(library)
    booster = (
        module.XGBClassifier(n_estimators=5, max_depth=2)
        if library == "xgboost"
        else module.LGBMClassifier(n_estimators=5, verbose=-1)
    )
    codes = np.repeat([0, 1, 2], [50, 50, 20])
    X = np.random.default_rng(0).standard_normal((120, 2)) + codes[:, None]
    half = np.r_[0:25, 50:75], np.r_[25:50, 75:120]  # class 2 lies in the second half only
    mixture = MixtureClassifier([("boosted", booster), ("near", KNeighborsClassifier(5))], on_error="raise",
                                **settings(False, cv=[half, half[::-1]])).fit(X, codes)  # fmt: skip
    assert (mixture.oof_predictions_[half[1], :2, 2] == 0).all(), "a model that never saw the class cannot name it"
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)
    last = mixture.predict_experts(X)[100:, :2]
    assert (last.argmax(axis=2) == 2).any(), "the experts fitted to all rows know the class"


def test_a_single_class_is_named():
    with pytest.raises(ValueError, match="one class only, 'yes'"):
        MixtureClassifier(CLASSES).fit(np.zeros((10, 1)), np.repeat("yes", 10))
    with pytest.raises(ValueError, match=r"Unknown label type|continuous"):
        MixtureClassifier(CLASSES).fit(np.zeros((10, 1)), np.linspace(0, 1, 10))


# --- scoring --------------------------------------------------------------------------------------------


def test_a_score_that_a_fold_of_one_class_has_none_of():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(30, int), np.arange(60) % 2]
    X = rng.standard_normal((90, 2)) + y[:, None]
    parts = np.split(np.arange(90), 3)
    cv = [(np.setdiff1d(np.arange(90), part), part) for part in parts]
    pool = [("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    mixture = MixtureClassifier(pool, scoring="roc_auc", **settings(False, cv=cv)).fit(X, y)
    loss = mixture.candidates_.set_index("candidate")["loss"]
    assert np.isfinite(mixture.candidates_[["loss", "difference", "standard_error"]].to_numpy()).all()
    shares = mixture.oof_predictions_[:, :2, 1]
    scores = [np.mean([roc_auc_score(y[part], shares[part, k]) for part in parts[1:]]) for k in range(2)]
    assert loss["best single"] == pytest.approx(-max(scores)), "the folds that have a score are averaged"
    assert "nan" not in str(mixture.verdict_)


def test_a_scorer_that_refuses_a_fold_is_named():
    X, y = make_regimes(150, task="classification", random_state=0)
    labels = np.array(["a", "b"])[y]
    labels[3] = "c"
    mixture = MixtureClassifier(["logistic"], scoring="neg_log_loss", **settings(False, cv=3))
    with pytest.raises(ValueError, match=r"scoring='neg_log_loss' refuses a fold .* fewer folds, another score"):
        mixture.fit(X, labels)
