"""Checks of likelihoods pass for valid likelihoods, and each fails for the defect it is meant to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln
from sklearn.base import BaseEstimator

from metamix.likelihoods import Categorical, Gaussian
from metamix.testing import check_likelihood


class Poisson(BaseEstimator):
    """A likelihood of counts that is independent of metamix."""

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Poisson:
        return self

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        y = np.asarray(y)[:, None]
        return y * np.log(predictions) - predictions - gammaln(y + 1)


@pytest.mark.parametrize("likelihood", [Gaussian(), Categorical()])
def test_likelihoods_of_metamix_pass(likelihood: Any) -> None:
    for _, check in check_likelihood(likelihood):
        check()


def test_a_likelihood_of_counts_passes() -> None:
    checks = dict(check_likelihood(Poisson()))
    for name in ("log_prob_is_finite", "probabilities_add_to_one", "experts_in_another_order"):
        checks[name]()


class WrongLikelihood(Gaussian):
    def __init__(self, defect: str = "", floor: float = 1e-4) -> None:
        super().__init__(floor=floor)
        self.defect = defect

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Any:
        if self.defect == "ignores responsibilities":
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
        if self.defect == "filled":
            return np.nan_to_num(values)
        if self.defect == "density":
            with np.errstate(divide="ignore"):
                return np.log(np.exp(values))
        if self.defect == "scale" and scale is not None:
            return values * scale
        return values


@pytest.mark.parametrize(
    ("defect", "name", "message"),
    [
        ("ignores responsibilities", "rows_without_responsibility_do_not_count", "responsibility 0"),
        ("first", "experts_in_another_order", "reordering"),
        ("constant", "probabilities_add_to_one", "total probability"),
        ("sign", "better_answers_are_likelier", "close to y"),
        ("filled", "missing_answers_stay_missing", "NaN"),
        ("density", "log_prob_is_finite", "far from the predictions"),
        ("scale", "scales_of_experts_are_taken", "scale makes log_prob NaN"),
    ],
)
def test_each_defect_of_a_likelihood_is_found(defect, name, message) -> None:
    dict(check_likelihood(WrongLikelihood()))[name]()
    check = dict(check_likelihood(WrongLikelihood(defect)))[name]
    with pytest.raises(AssertionError, match=message):
        check()
