"""Checks of gates pass for valid gates, and each fails for the defect it is meant to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import ClassifierMixin

from metamix.gates import ConstantGate, GaussianGate, SoftmaxGate
from metamix.testing import check_gate


@pytest.mark.parametrize("gate", [ConstantGate(), SoftmaxGate(), SoftmaxGate(penalty=0.1), GaussianGate()])
def test_gates_of_metamix_pass(gate: Any) -> None:
    for _, check in check_gate(gate):
        check()


class WrongGate(ConstantGate):
    def __init__(self, defect: str = "") -> None:
        self.defect = defect

    def fit(self, X: Any, responsibilities: Any, sample_weight: Any = None) -> WrongGate:
        responsibilities = np.asarray(responsibilities)
        if self.defect == "writes":
            responsibilities += 0
        if self.defect == "one":
            responsibilities = responsibilities[:, :2] / responsibilities[:, :2].sum(axis=1, keepdims=True)
        if self.defect == "first":
            responsibilities = responsibilities * 0 + np.eye(responsibilities.shape[1])[0]
        super().fit(X, responsibilities, None if self.defect == "unweighted" else sample_weight)
        return self

    def predict_proba(self, X: Any) -> Any:
        weights = super().predict_proba(X)
        if self.defect == "sum":
            return weights * 1.1
        if self.defect == "underflow":
            density = np.exp(-(np.asarray(X)[:, :1] ** 2)) * weights
            with np.errstate(invalid="ignore"):
                return density / density.sum(axis=1, keepdims=True)
        return weights


@pytest.mark.parametrize(
    ("defect", "name", "error", "message"),
    [
        ("writes", "leaves_its_input_alone", ValueError, "read-only"),
        ("one", "one_expert_and_certain_labels", AssertionError, "shape"),
        ("first", "experts_in_another_order", AssertionError, "reordering"),
        ("unweighted", "sample_weight_counts", AssertionError, "sample_weight"),
        ("sum", "weights_follow_responsibilities", AssertionError, "sum to 1"),
        ("underflow", "weights_stay_finite_far_away", AssertionError, "NaN"),
    ],
)
def test_each_defect_of_a_gate_is_found(defect, name, error, message) -> None:
    dict(check_gate(WrongGate()))[name]()
    check = dict(check_gate(WrongGate(defect)))[name]
    with pytest.raises(error, match=message):
        check()


def failing(checks):
    """Names of the checks that fail."""
    found = set()
    for name, check in checks:
        try:
            check()
        except Exception:
            found.add(name)
    return found


class Ascending(ConstantGate):
    def fit_objective(self, X: Any, objective: Any, start: Any = None, sample_weight: Any = None) -> Any:
        gradient = objective(np.tile(start, (len(X), 1)))[1].mean(axis=0)
        return self.fit(X, np.tile(softmax(20 * gradient), (len(X), 1)))


def test_a_gate_that_increases_its_objective_is_found() -> None:
    assert failing(check_gate(Ascending())) == {"objective_is_not_made_worse"}


class SaysClassifier(ClassifierMixin, ConstantGate):
    """Passes every other check, and a mixture would fit it to labels."""


def test_a_gate_that_says_it_is_a_classifier_is_found() -> None:
    failed = []
    for name, check in check_gate(SaysClassifier()):
        try:
            check()
        except AssertionError as error:
            failed.append((name, str(error)))
    assert [name for name, _ in failed] == ["does_not_say_that_it_is_a_classifier"]
    assert "ClassifierMixin" in failed[0][1]
