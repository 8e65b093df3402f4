"""NeuralMixtureClassifier: probabilities, responsibilities, labels."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import log_loss

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")
skorch = pytest.importorskip("skorch", reason="the estimators of metamix.nn need skorch")

from metamix.nn import NeuralMixtureClassifier  # noqa: E402

# Few, large steps: the tests need a fit, not the best one.
SMALL = {"hidden": 16, "max_epochs": 40, "patience": 10, "batch_size": 64, "learning_rate": 0.01, "random_state": 0}
BRIEF = {"hidden": 8, "max_epochs": 4, "batch_size": 64, "random_state": 0}


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, "same", np.where(X[:, 0] > 1, "far", "other"))
    return NeuralMixtureClassifier(2, **SMALL).fit(X, y), X, y


def test_class_probabilities_are_those_of_the_mixture(classes):
    model, X, y = classes
    mixed = np.einsum("nk,nkc->nc", model.gate_weights(X), model.predict_experts(X))
    np.testing.assert_allclose(model.predict_proba(X), mixed, atol=1e-6)
    codes = np.searchsorted(model.classes_, y)
    np.testing.assert_allclose(model.log_prob(X, y), np.log(mixed[np.arange(len(y)), codes]), atol=1e-5)
    shares = model.gate_weights(X) * model.predict_experts(X)[np.arange(len(y)), :, codes]
    np.testing.assert_allclose(model.responsibilities(X, y), shares / shares.sum(1, keepdims=True), atol=1e-5)
    prior = np.unique(y, return_counts=True)[1] / len(y)
    assert log_loss(y, model.predict_proba(X)) < 0.6 * stats.entropy(prior)


def test_the_cooperative_objective_mixes_logits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    model = NeuralMixtureClassifier(2, objective="cooperative", start="random", **BRIEF).fit(X, X[:, 0] > 0)
    log_p = np.log(model.predict_experts(X))
    mixed = np.exp(np.einsum("nk,nkc->nc", model.gate_weights(X), log_p))
    np.testing.assert_allclose(model.predict_proba(X), mixed / mixed.sum(1, keepdims=True), atol=1e-5)


def test_rows_are_predicted_independently(classes):
    model, X, _ = classes
    np.testing.assert_allclose(model.predict_proba(X)[::-7], model.predict_proba(X[::-7]), atol=1e-6)


def test_a_label_not_seen_in_fit_is_rejected(classes):
    model, X, _ = classes
    with pytest.raises(ValueError, match="the label 'new', which was not seen in fit; known"):
        model.log_prob(X[:2], ["same", "new"])


def test_missing_labels_of_a_pandas_dtype_are_rejected(three_columns):
    X, y = three_columns()
    labels = pd.Series(np.where(y > 0, "a", "b"), dtype="string").mask(X[:, 0] > 1)
    with pytest.raises(ValueError, match="y has missing labels"):
        NeuralMixtureClassifier(2, **BRIEF).fit(X, labels)


def test_a_class_with_zero_weight_keeps_its_column(three_columns):
    X, y = three_columns()
    labels = np.where(y > 1, "high", np.where(y < -1, "low", "middle"))
    model = NeuralMixtureClassifier(2, **SMALL).fit(X, labels, (labels != "low").astype(float))
    assert model.classes_.tolist() == ["high", "low", "middle"]
    assert model.predict_proba(X)[:, 1].mean() < (labels == "low").mean() / 2


def test_a_class_with_one_row(three_columns):
    X, y = three_columns()
    labels = np.where(np.arange(len(X)) == 5, "rare", np.where(y > 0, "high", "low"))
    proba = NeuralMixtureClassifier(2, **BRIEF).fit(X, labels).predict_proba(X)
    assert proba.shape == (len(X), 3)
    np.testing.assert_allclose(proba.sum(1), 1)
