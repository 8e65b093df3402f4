"""Checks of likelihoods pass for valid likelihoods, and for each there is a part with one defect that it finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln
from sklearn.base import BaseEstimator

from metamix.likelihoods import Categorical, Gaussian, Laplace, StudentT
from metamix.testing import check_likelihood


class Poisson(BaseEstimator):
    """A likelihood of counts that is independent of metamix."""

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Poisson:
        return self

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        y = np.asarray(y)[:, None]
        return y * np.log(predictions) - predictions - gammaln(y + 1)


@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), StudentT(), Categorical()])
def test_likelihoods_of_metamix_pass(likelihood: Any, failing) -> None:
    assert not failing(check_likelihood(likelihood))


def test_a_likelihood_of_counts_passes() -> None:
    checks = dict(check_likelihood(Poisson()))
    assert len(checks) == 20
    for name in ("log_prob_is_finite", "probabilities_add_to_one", "experts_in_another_order", "works_in_a_mixture"):
        checks[name]()


class WrongLikelihood(Gaussian):
    """A Gaussian with one defect."""

    def __init__(self, defect: str = "", floor: float = 1e-4) -> None:
        super().__init__(floor=floor)
        self.defect = defect
        self.lowest = floor

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Any:
        shares = responsibilities
        match self.defect:
            case "equal":
                shares = np.where(np.isfinite(predictions), shares + 1e-2, shares)
            case "squared":
                shares = shares**2
            case "writes":
                y -= 0
            case "parameter":
                self.floor = self.floor * (1 + 1e-12)
            case "lambda":
                self.function_ = lambda: None
            case "method":
                self.upper_ = "word".upper
            case "columns" if X is not None:
                raise TypeError("fit takes no columns")
        super().fit(y, predictions, shares, scale)
        if self.defect == "random":
            self.scale_ = self.scale_ * (1 + 1e-9 * np.random.default_rng().normal(size=len(self.scale_)))
        if self.defect == "early":
            self.scale_ = self.scale_ * (1 + self.lowest)
        if self.defect == "first":
            self.scale_ = self.scale_ * np.where(np.arange(len(self.scale_)) == 0, 1.05, 1.0)
        if self.defect == "unit":
            self.scale_ = self.scale_ + 1e-3
        return self

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        if self.defect == "broadcast" and len(y) != len(predictions):
            y = np.resize(y, len(predictions))
        if self.defect == "exit" and len(y) != len(predictions):
            raise SystemExit("y and predictions differ")
        values = super().log_prob(y, self.centre(predictions), scale)
        match self.defect:
            case "constant":
                return values + np.log(2 * np.pi) / 2
            case "filled":
                return np.nan_to_num(values)
            case "density":
                with np.errstate(divide="ignore"):
                    return np.log(np.exp(values))
            case "scale" if scale is not None:
                return values * scale
        return values

    def centre(self, predictions: Any) -> Any:
        return predictions - 3 * self.scale_ if self.defect == "far" else predictions

    def standard_deviation(self, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        values = super().standard_deviation(predictions, scale, X)
        return values[0] if self.defect == "one deviation" else values

    def distribution(self, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        wider = 1.2 if self.defect == "wider" else 1.0
        return stats.norm(self.centre(predictions), wider * super().standard_deviation(predictions, scale, X))


class Trusting(StudentT):
    def trust(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        return np.nan_to_num(np.abs(np.asarray(y)[:, None] - predictions))


@pytest.mark.parametrize(
    ("defect", "expected", "message"),
    [
        ("", set(), ""),
        ("parameter", {"clones_and_keeps_parameters"}, "changes the parameters"),
        ("random", {"same_seed_same_answer", "parameters_can_be_searched"}, "different answers"),
        ("lambda", {"pickles_when_fitted", "saved_and_loaded"}, "lambda"),
        ("early", {"parameters_can_be_searched"}, "read parameters in fit"),
        ("broadcast", {"errors_are_exceptions"}, "raises no exception"),
        ("exit", {"errors_are_exceptions"}, "ends the program"),
        ("columns", {"works_in_a_mixture", "saved_and_loaded"}, "takes no columns"),
        ("method", {"saved_and_loaded"}, "cannot be saved"),
        ("density", {"log_prob_is_finite"}, "far from the predictions"),
        ("constant", {"probabilities_add_to_one", "distribution_agrees_with_log_prob"}, "total probability"),
        ("far", {"better_answers_are_likelier"}, "close to y"),
        ("first", {"experts_in_another_order"}, "reordering"),
        ("equal", {"rows_without_responsibility_do_not_count"}, "responsibility 0"),
        ("filled", {"missing_answers_stay_missing"}, "NaN"),
        ("scale", {"scales_of_experts_are_taken"}, "scale makes log_prob NaN"),
        ("writes", {"scales_of_experts_are_taken"}, "read-only"),
        ("squared", {"weights_are_repeated_rows"}, "three rows"),
        ("unit", {"units_of_y_do_not_matter"}, "log_prob is wrong"),
        ("one deviation", {"standard_deviations_are_finite"}, "shape"),
        ("wider", {"distribution_agrees_with_log_prob"}, "cdf and log_prob differ"),
    ],
)
def test_each_defect_of_a_likelihood_is_found(defect, expected, message, failing) -> None:
    found = failing(check_likelihood(WrongLikelihood(defect)))
    assert set(found) == expected
    assert not expected or any(message in str(error) for error in found.values())


def test_trust_that_grows_with_the_error_is_found(failing) -> None:
    assert set(failing(check_likelihood(Trusting()))) == {"trust_falls_with_the_error"}
