"""The Gaussian process classifier against known probabilities and repeated rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from metamix.experts.labels import ProcessClassifier


def test_simulated_probabilities_are_recovered() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (600, 2))
    truth = 1 / (1 + np.exp(-3 * np.sin(2 * X[:, 0]) - X[:, 1]))
    y = np.where(rng.random(600) < truth, "yes", "no")
    model = ProcessClassifier().fit(X[:300], y[:300])
    found = model.predict_proba(X[300:])
    best = log_loss(y[300:], np.column_stack([1 - truth, truth])[300:])
    assert log_loss(y[300:], found) < best + 0.05
    assert np.abs(found[:, 1] - truth[300:]).mean() < 0.1


def test_integer_weights_equal_repeated_rows(waves: Any) -> None:
    X, y = waves(50, noise=0.3)
    labels = np.digitize(y, [0.0, 1.0])
    times = np.random.default_rng(0).integers(0, 4, 50)
    weighted = ProcessClassifier().fit(X, labels, times.astype(float)).predict_proba(X)
    repeated = ProcessClassifier().fit(np.repeat(X, times, axis=0), np.repeat(labels, times)).predict_proba(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-3)


def test_estimator_checks_of_scikit_learn(failed_estimator_checks: Any) -> None:
    assert failed_estimator_checks(ProcessClassifier("smooth", search_rows=30, exact_rows=40, n_centres=20)) == []
