"""Checks of experts pass for valid experts, and each fails for the defect it is meant to find."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metamix.testing import check_expert


@pytest.mark.parametrize(
    "expert",
    [
        Ridge(),
        KNeighborsRegressor(),
        RandomForestRegressor(20),
        make_pipeline(StandardScaler(), Ridge()),
        LogisticRegression(),
        RandomForestClassifier(10),
    ],
    ids=lambda expert: type(expert).__name__,
)
def test_estimators_of_scikit_learn_pass(expert: Any) -> None:
    checks = list(check_expert(expert))
    assert len(checks) == 8
    for _, check in checks:
        check()


class Wrong(Ridge):
    def __init__(self, defect: str = "", alpha: float = 1.0) -> None:
        super().__init__(alpha=alpha)
        self.defect = defect

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Wrong:
        if self.defect == "parameter":
            self.alpha = 2.0
        if self.defect == "writes":
            X -= X.mean(axis=0)
        if self.defect == "unweighted":
            sample_weight = None
        if self.defect == "lambda":
            self.function_ = lambda: None
        before = getattr(self, "coef_", 0) if self.defect == "warm" else 0
        super().fit(X, y, sample_weight)
        if self.defect == "random":
            self.coef_ = self.coef_ + np.random.default_rng().normal(size=self.coef_.shape)
        self.coef_ = self.coef_ + 0.1 * before
        return self

    def predict(self, X: Any) -> Any:
        prediction = super().predict(X)
        if self.defect == "together":
            return prediction - prediction.mean()
        if self.defect == "column":
            return prediction[:, None]
        if self.defect == "nan":
            prediction[0] = np.nan
        return prediction


@pytest.mark.parametrize(
    ("defect", "name", "error", "message"),
    [
        ("parameter", "clones_and_keeps_parameters", AssertionError, "changes the parameters"),
        ("writes", "leaves_its_input_alone", ValueError, "read-only"),
        ("unweighted", "weights_count_where_taken", AssertionError, "change predictions by"),
        ("lambda", "pickles_when_fitted", (AttributeError, pickle.PicklingError), "lambda"),
        ("warm", "refitting_forgets", AssertionError, "depends on the first"),
        ("random", "same_seed_same_answer", AssertionError, "different predictions"),
        ("together", "rows_are_answered_alone", AssertionError, "depends on the other rows"),
        ("column", "answers_have_shape_and_are_finite", AssertionError, "have shape"),
        ("nan", "answers_have_shape_and_are_finite", AssertionError, "NaN"),
    ],
)
def test_each_defect_of_an_expert_is_found(defect, name, error, message) -> None:
    dict(check_expert(Wrong()))[name]()
    check = dict(check_expert(Wrong(defect)))[name]
    with pytest.raises(error, match=message):
        check()


def test_a_classifier_without_probabilities_fails():
    check = dict(check_expert(SVC()))["answers_have_shape_and_are_finite"]
    with pytest.raises(AttributeError, match="predict_proba"):
        check()
