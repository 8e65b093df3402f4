"""Checks of experts pass for valid experts, and for each there is a part with one defect that it finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
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
def test_estimators_of_scikit_learn_pass(expert: Any, failing) -> None:
    assert not failing(check_expert(expert))


def test_a_check_for_each_demand() -> None:
    assert len(list(check_expert(Ridge()))) == 16
    assert len(list(check_expert(LogisticRegression()))) == 18


class Wrong(Ridge):
    """A ridge regression with one defect."""

    def __init__(self, defect: str = "", alpha: float = 1.0, device: str | None = None) -> None:
        super().__init__(alpha=alpha)
        self.defect = defect
        self.device = device
        self.strength = alpha

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Wrong:
        weight = None if sample_weight is None else np.asarray(sample_weight)
        before, alpha = getattr(self, "coef_", 0), self.alpha
        match self.defect:
            case "parameter":
                self.alpha = alpha = 2.0
            case "writes":
                X -= 0
            case "unweighted":
                weight = None
            case "uncertain" if weight is not None:
                weight = np.maximum(weight, 1e-3)
            case "clipped" if weight is not None:
                weight = np.where(weight > 0, np.maximum(weight, 0.5), 0)
            case "squared" if weight is not None:
                weight = weight**2
            case "lambda":
                self.function_ = lambda: None
            case "method":  # pickle stores it, files of mixtures do not
                self.upper_ = "word".upper
            case "early":
                self.alpha, alpha = self.strength, self.alpha
            case "exit" if len(X) != len(y):
                raise SystemExit("rows and targets differ")
            case "many rows" if len(X) < 100:
                raise ValueError("too few rows")
            case "values":
                X = np.asarray(X)
            case "frame" if isinstance(X, pd.DataFrame):
                X = X * 0
        super().fit(X, y, weight)
        if self.defect == "early":
            self.alpha = alpha
        if self.defect == "random":
            self.coef_ = self.coef_ + 1e-9 * np.random.default_rng().normal(size=self.coef_.shape)
        if self.defect == "warm":
            self.coef_ = self.coef_ + 0.1 * before
        return self

    def predict(self, X: Any) -> Any:
        if self.defect == "values":
            X = np.asarray(X)
        prediction = super().predict(X)
        match self.defect:
            case "together":
                return prediction + 1e-3 * (len(prediction) > 1)
            case "column":
                return prediction[:, None]
            case "nan":
                prediction[0] = np.nan
            case "constant":
                return prediction + 100
        return prediction

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        if device == "cpu" or self.defect == "gpu":
            return device, ""
        return "cpu", "a ridge regression uses the CPU"


WEIGHTS = {"weights_count_where_taken", "rows_of_weight_zero_do_not_count", "weight_of_two_is_two_rows"}


@pytest.mark.parametrize(
    ("defect", "expected", "message"),
    [
        ("parameter", {"clones_and_keeps_parameters"}, "changes the parameters"),
        ("random", {"same_seed_same_answer", "refitting_forgets", "parameters_can_be_searched"}, "different answers"),
        ("lambda", {"pickles_when_fitted", "saved_and_loaded"}, "lambda"),
        ("early", {"parameters_can_be_searched"}, "read parameters in fit"),
        ("exit", {"errors_are_exceptions"}, "ends the program"),
        ("gpu", {"device_is_respected"}, "which is not there"),
        ("many rows", {"works_in_a_mixture", "saved_and_loaded"}, "too few rows"),
        ("method", {"saved_and_loaded"}, "cannot be saved"),
        ("column", {"answers_have_shape_and_are_finite"}, "have shape"),
        ("constant", {"answers_have_shape_and_are_finite"}, "squared error"),
        ("warm", {"refitting_forgets"}, "depends on the first"),
        ("clipped", {"weights_count_where_taken"}, "change predictions by"),
        ("unweighted", WEIGHTS, "sample_weight 0"),
        ("uncertain", {"rows_of_weight_zero_do_not_count"}, "sample_weight 0"),
        ("squared", {"weight_of_two_is_two_rows"}, "two rows by"),
        ("writes", {"leaves_its_input_alone"}, "read-only"),
        ("together", {"rows_are_answered_alone"}, "depends on the other rows"),
        ("values", {"frames_and_column_order"}, "compare their names"),
        ("frame", {"frames_and_column_order"}, "a frame and an array"),
    ],
)
def test_each_defect_of_an_expert_is_found(defect, expected, message, failing) -> None:
    found = failing(check_expert(Wrong(defect)))
    assert set(found) == expected
    assert any(message in str(error) for error in found.values())


def test_the_expert_without_a_defect_passes(failing) -> None:
    assert not failing(check_expert(Wrong()))


class WrongClassifier(LogisticRegression):
    """A logistic regression with one defect."""

    def __init__(self, defect: str = "", C: float = 1.0) -> None:
        super().__init__(C=C)
        self.defect = defect

    def predict(self, X: Any) -> Any:
        if self.defect == "codes":
            return self.predict_proba(X).argmax(axis=1)
        return super().predict(X)

    def predict_proba(self, X: Any) -> Any:
        probabilities = super().predict_proba(X)
        if self.defect == "sum":
            return 1.1 * probabilities
        if self.defect == "padded" and 0 in self.classes_:  # a column for each code up to the largest
            padded = np.zeros((len(probabilities), self.classes_.max() + 1))
            padded[:, self.classes_] = probabilities
            return padded
        return probabilities


@pytest.mark.parametrize(
    ("defect", "expected", "message"),
    [
        ("", set(), ""),
        ("sum", {"answers_have_shape_and_are_finite"}, "sum to 1"),
        ("codes", {"labels_not_codes"}, "no label"),
        ("padded", {"class_missing_from_a_fold"}, "shape"),
    ],
)
def test_each_defect_of_a_classifier_is_found(defect, expected, message, failing) -> None:
    found = failing(check_expert(WrongClassifier(defect)))
    assert set(found) == expected
    assert all(message in str(error) for error in found.values())


def test_a_classifier_without_probabilities_fails():
    check = dict(check_expert(SVC()))["answers_have_shape_and_are_finite"]
    with pytest.raises(AttributeError, match="predict_proba"):
        check()
