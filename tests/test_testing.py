"""The checks pass what is sound, and each finds the defect it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln, softmax
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metamix.gates import ConstantGate, GaussianGate, SoftmaxGate
from metamix.likelihoods import Categorical, Gaussian
from metamix.testing import check_expert, check_gate, check_likelihood, check_plugin

Checks = Iterator[tuple[str, Callable[[], None]]]


def failing(checks: Checks) -> set[str]:
    found = set()
    for name, check in checks:
        try:
            check()
        except Exception:
            found.add(name)
    return found


# What is sound passes


@pytest.mark.parametrize(
    "expert",
    [
        Ridge(),
        KNeighborsRegressor(),
        RandomForestRegressor(50),
        make_pipeline(StandardScaler(), Ridge()),
        LogisticRegression(),
        RandomForestClassifier(10),
    ],
    ids=lambda expert: type(expert).__name__,
)
def test_scikit_learns_estimators_are_experts(expert: Any) -> None:
    assert len(list(check_expert(expert))) == 8
    assert failing(check_expert(expert)) == set()


@pytest.mark.parametrize("gate", [ConstantGate(), SoftmaxGate(), SoftmaxGate(penalty=0.1), GaussianGate()])
def test_own_gates_are_gates(gate: Any) -> None:
    assert failing(check_gate(gate)) == set()


class Poisson(BaseEstimator):
    """Counts; written here, so that the checks are not only tried on numbers."""

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Poisson:
        return self

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        y = np.asarray(y)[:, None]
        return y * np.log(predictions) - predictions - gammaln(y + 1)


@pytest.mark.parametrize("likelihood", [Gaussian(), Categorical()])
def test_own_likelihoods_are_likelihoods(likelihood: Any) -> None:
    assert failing(check_likelihood(likelihood)) == set()


def test_a_likelihood_of_counts_adds_up_over_counts() -> None:
    checks = dict(check_likelihood(Poisson()))
    for name in ("log_prob_is_finite", "probabilities_add_to_one", "experts_in_another_order"):
        checks[name]()


# What is not is found


class Wrong(Ridge):
    def __init__(self, defect: str = "", alpha: float = 1.0) -> None:
        super().__init__(alpha=alpha)
        self.defect = defect

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Wrong:
        if self.defect == "parameter":
            self.alpha = 2.0
        if self.defect == "writes":
            X -= X.mean(axis=0)
        if self.defect == "deaf":
            sample_weight = None
        if self.defect == "lock":
            self.lock_ = lambda: None
        before = getattr(self, "coef_", 0) if self.defect == "warm" else 0
        super().fit(X, y, sample_weight)
        if self.defect == "random":
            self.coef_ = self.coef_ + np.random.default_rng().normal(size=self.coef_.shape)
        self.coef_ = self.coef_ + 0.1 * before
        return self

    def predict(self, X: Any) -> Any:
        answer = super().predict(X)
        if self.defect == "together":
            return answer - answer.mean()
        if self.defect == "column":
            return answer[:, None]
        if self.defect == "nan":
            answer[0] = np.nan
        return answer


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        ("parameter", "clones_and_keeps_parameters"),
        ("writes", "leaves_its_input_alone"),
        ("deaf", "weights_count_where_taken"),
        ("lock", "pickles_when_fitted"),
        ("warm", "refitting_forgets"),
        ("random", "same_seed_same_answer"),
        ("together", "rows_are_answered_alone"),
        ("column", "answers_have_shape_and_are_finite"),
        ("nan", "answers_have_shape_and_are_finite"),
    ],
)
def test_each_defect_of_an_expert_is_found(defect: str, name: str) -> None:
    assert failing(check_expert(Wrong())) == set()
    assert name in failing(check_expert(Wrong(defect)))


def test_a_classifier_without_probabilities_is_no_expert() -> None:
    assert "answers_have_shape_and_are_finite" in failing(check_expert(SVC()))


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
        super().fit(X, responsibilities, None if self.defect == "deaf" else sample_weight)
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
    ("defect", "name"),
    [
        ("writes", "leaves_its_input_alone"),
        ("one", "one_expert_and_certain_labels"),
        ("first", "experts_in_another_order"),
        ("deaf", "sample_weight_counts"),
        ("sum", "weights_follow_responsibilities"),
        ("underflow", "weights_stay_finite_far_away"),
    ],
)
def test_each_defect_of_a_gate_is_found(defect: str, name: str) -> None:
    assert failing(check_gate(WrongGate())) == set()
    assert name in failing(check_gate(WrongGate(defect)))


class Climber(ConstantGate):
    def fit_objective(self, X: Any, objective: Any, start: Any = None, sample_weight: Any = None) -> Any:
        gradient = objective(np.tile(start, (len(X), 1)))[1].mean(axis=0)
        return self.fit(X, np.tile(softmax(20 * gradient), (len(X), 1)))


def test_a_gate_that_climbs_is_found() -> None:
    assert failing(check_gate(Climber())) == {"objective_is_not_made_worse"}


class WrongLikelihood(Gaussian):
    def __init__(self, defect: str = "", floor: float = 1e-4) -> None:
        super().__init__(floor=floor)
        self.defect = defect

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Any:
        if self.defect == "blind":
            responsibilities = np.ones_like(responsibilities)
        if self.defect == "first":
            predictions = np.repeat(predictions[:, :1], predictions.shape[1], axis=1)
        return super().fit(y, predictions, responsibilities, scale)

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        values = super().log_prob(y, predictions, scale)
        if self.defect == "constant":
            return values + np.log(2 * np.pi) / 2
        if self.defect == "sign":
            return -values
        if self.defect == "holes":
            return np.nan_to_num(values)
        if self.defect == "density":
            with np.errstate(divide="ignore"):
                return np.log(np.exp(values))
        if self.defect == "scale" and scale is not None:
            return values * scale
        return values


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        ("blind", "rows_without_responsibility_do_not_count"),
        ("first", "experts_in_another_order"),
        ("constant", "probabilities_add_to_one"),
        ("sign", "better_answers_are_likelier"),
        ("holes", "missing_answers_stay_missing"),
        ("density", "log_prob_is_finite"),
        ("scale", "scales_of_experts_are_taken"),
    ],
)
def test_each_defect_of_a_likelihood_is_found(defect: str, name: str) -> None:
    assert failing(check_likelihood(WrongLikelihood())) == set()
    assert name in failing(check_likelihood(WrongLikelihood(defect)))


# Plugins


def test_own_parts_keep_their_contracts() -> None:
    # The slow ones differ from a quick one in nothing that metamix adds.
    slow = ("forest", "extra_trees", "mlp", "boosting")
    checks = [(name, check) for name, check in check_plugin("metamix") if name.split("/")[1] not in slow]
    assert len(checks) > 150
    assert failing(iter(checks)) == set()


def test_a_distribution_without_parts_is_named() -> None:
    with pytest.raises(ValueError, match=r"'no-such-plugin'; those that do: .*metamix"):
        next(check_plugin("no-such-plugin"))
