"""Checks of gates pass for valid gates, and for each there is a part with one defect that it finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsRegressor

from metamix.gates import ConstantGate, GaussianGate, SoftmaxGate
from metamix.testing import check_gate


@pytest.mark.parametrize("gate", [ConstantGate(), SoftmaxGate(), SoftmaxGate(penalty=0.1), GaussianGate()])
def test_gates_of_metamix_pass(gate: Any, failing) -> None:
    assert not failing(check_gate(gate))


def test_a_check_for_each_demand() -> None:
    assert len(list(check_gate(ConstantGate()))) == 25


class WrongGate(BaseEstimator):
    """Constant weights, the mean responsibilities, with one defect."""

    def __init__(self, defect: str = "", strength: float = 1.0, device: str | None = None, seed: Any = None) -> None:
        self.defect = defect
        self.strength = strength
        self.device = device
        self.seed = seed
        self.power = strength

    def fit(self, X: Any, responsibilities: Any, sample_weight: Any = None) -> WrongGate:
        shares = np.asarray(responsibilities)
        if len(shares) != len(X):
            error = SystemExit if self.defect == "exit" else ValueError
            raise error("X and responsibilities have different numbers of rows")
        weight = np.ones(len(shares)) if sample_weight is None else np.asarray(sample_weight)
        match self.defect:
            case "writes":
                shares += 0
            case "one" if shares.shape[1] == 1:
                raise ValueError("one expert needs no gate")
            case "first" if np.ptp(X) > 0:
                shares = shares * np.where(np.arange(shares.shape[1]) == 0, 1.1, 1.0)
            case "clipped":
                weight = np.where(weight > 0, np.maximum(weight, 1.0), 0)
            case "uncertain":
                weight = np.maximum(weight, 1e-3)
            case "squared":
                weight = weight**2
            case "lambda":
                self.function_ = lambda: None
            case "method":
                self.upper_ = "word".upper
            case "parameter":
                self.seed = 1
            case "many rows" if len(X) < 60:
                raise ValueError("too few rows")
            case "smoothed" if (shares.sum(axis=0) == 0).any():
                shares = 0.6 * shares + 0.4 / shares.shape[1]
        strength = self.power if self.defect == "early" else self.strength
        mean = np.average(shares, axis=0, weights=weight) ** strength
        self.mean_ = mean / mean.sum()
        if self.defect == "random":
            self.mean_ = self.mean_ * (1 + 1e-9 * np.random.default_rng().normal(size=len(self.mean_)))
        self.memory_ = KNeighborsRegressor(1).fit(X, shares) if self.defect == "memory" and len(X) >= 400 else None
        return self

    def predict_proba(self, X: Any) -> Any:
        weights = np.tile(self.mean_, (len(X), 1))
        match self.defect:
            case "sum":
                return weights * 1.001
            case "underflow":
                near = (np.abs(np.asarray(X)).max(axis=1) < 100).astype(float)[:, None]
                with np.errstate(invalid="ignore"):
                    return weights * near / near
            case "memory" if self.memory_ is not None:
                return self.memory_.predict(X)
            case "together":
                return np.roll(weights, 1, axis=1) if len(X) == 1 else weights
            case "certain":
                return np.eye(weights.shape[1])[weights.argmax(axis=1)]
        return weights

    def __metamix_device__(self, device: str) -> tuple[str, str]:
        return (device, "") if device == "cpu" or self.defect == "gpu" else ("cpu", "constants need no GPU")


CERTAIN = {"weights_follow_responsibilities", "no_information_no_gate", "constant_columns_give_constant_weights"}


@pytest.mark.parametrize(
    ("defect", "expected", "message"),
    [
        ("", set(), ""),
        ("parameter", {"clones_and_keeps_parameters"}, "changes the parameters"),
        ("random", {"same_seed_same_answer", "parameters_can_be_searched"}, "different answers"),
        ("lambda", {"pickles_when_fitted", "saved_and_loaded"}, "lambda"),
        ("early", {"parameters_can_be_searched"}, "read parameters in fit"),
        ("exit", {"errors_are_exceptions"}, "ends the program"),
        ("gpu", {"device_is_respected"}, "which is not there"),
        ("many rows", {"works_in_a_mixture", "saved_and_loaded"}, "too few rows"),
        ("method", {"saved_and_loaded"}, "cannot be saved"),
        ("sum", {"weights_are_on_the_simplex", "works_in_a_mixture", "one_expert_and_certain_labels"}, "sum to 1"),
        ("underflow", {"weights_stay_finite_far_away"}, "NaN"),
        ("memory", {"no_information_no_gate"}, "without information"),
        ("first", {"experts_in_another_order"}, "reordering"),
        ("clipped", {"sample_weight_counts"}, "sample_weight"),
        ("uncertain", {"rows_of_weight_zero_do_not_count"}, "sample_weight 0"),
        ("squared", {"weight_of_two_is_two_rows"}, "two rows"),
        ("one", {"one_expert_and_certain_labels"}, "one expert"),
        ("smoothed", {"an_expert_without_rows"}, "without responsibility"),
        ("writes", {"leaves_its_input_alone"}, "read-only"),
        ("together", {"rows_are_answered_alone"}, "other rows"),
        ("certain", CERTAIN, "mean responsibilities"),
    ],
)
def test_each_defect_of_a_gate_is_found(defect, expected, message, failing) -> None:
    found = failing(check_gate(WrongGate(defect)))
    assert set(found) == expected
    assert not expected or any(message in str(error) for error in found.values())


class Ascending(ConstantGate):
    """Goes uphill where columns vary."""

    def fit_objective(self, X: Any, objective: Any, start: Any = None, sample_weight: Any = None) -> Any:
        if np.ptp(X) == 0:
            return super().fit_objective(X, objective, start, sample_weight)
        gradient = objective(np.tile(start, (len(X), 1)))[1].mean(axis=0)
        return self.fit(X, np.tile(softmax(20 * gradient), (len(X), 1)))


class Hasty(ConstantGate):
    """Stops half way to the optimum."""

    def fit_objective(self, X: Any, objective: Any, start: Any = None, sample_weight: Any = None) -> Any:
        best = super().fit_objective(X, objective, start, sample_weight).predict_proba(X)
        return self.fit(X, (best + start) / 2)


class SaysClassifier(ClassifierMixin, ConstantGate):
    """A mixture fits it to labels."""


class Steep(SoftmaxGate):
    def weights_gradient(self, X: Any) -> Any:
        return 1.1 * super().weights_gradient(X)


class InPlace(ConstantGate):
    """Changes the weights of the gate that it is a copy of."""

    def partial_fit(self, X: Any, responsibilities: Any, sample_weight: Any = None, *, step: float) -> Any:
        weights = self.weights_
        super().partial_fit(X, responsibilities, sample_weight, step=step)
        weights[:] = self.weights_
        return self


class Still(ConstantGate):
    def partial_fit(self, X: Any, responsibilities: Any, sample_weight: Any = None, *, step: float) -> Any:
        return self


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (InPlace(), {"follows_new_rows"}),
        (Still(), {"follows_new_rows"}),
        (Ascending(), {"objective_is_not_made_worse"}),
        (Hasty(), {"constant_columns_give_constant_weights"}),
        (SaysClassifier(), {"does_not_say_that_it_is_a_classifier", "works_in_a_mixture", "saved_and_loaded"}),
        (Steep(), {"gradient_is_the_slope_of_the_weights"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_objectives_and_gradients_are_found(gate, expected, failing) -> None:
    assert set(failing(check_gate(gate))) == expected
