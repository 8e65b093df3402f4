"""Each public check of the optional methods of a likelihood finds a defect planted for it."""

import numpy as np
import pytest

from metamix.likelihoods import Gaussian, Outliers, StudentT
from metamix.testing import check_likelihood


class WithAbsoluteFloor(Gaussian):
    def fit(self, y, predictions, responsibilities, scale=None, X=None):
        super().fit(y, predictions, responsibilities, scale, X)
        self.scale_ = np.maximum(self.scale_, 1.0)
        return self


class InfiniteDeviation(StudentT):
    def standard_deviation(self, predictions, scale=None, X=None):
        return np.full(np.shape(predictions), np.inf)


class DeviationOfWrongShape(Gaussian):
    def standard_deviation(self, predictions, scale=None, X=None):
        return self.scale_


class DistributionTooWide(Gaussian):
    def distribution(self, predictions, scale=None, X=None):
        return super().distribution(predictions, 1.2 * self.standard_deviation(predictions), X)


class TrustRisesWithTheError(StudentT):
    def trust(self, y, predictions, scale=None, X=None):
        return np.where(np.isnan(predictions), 1.0, np.abs(np.asarray(y)[:, None] - predictions))


class TrustIsMissing(Outliers):
    def trust(self, y, predictions, scale=None, X=None):
        return super().trust(y, predictions, scale, X) * np.where(np.isnan(predictions), np.nan, 1.0)


class WeightsIgnored(Gaussian):
    def fit(self, y, predictions, responsibilities, scale=None, X=None):
        return super().fit(y, predictions, (responsibilities > 0).astype(float), scale, X)


@pytest.mark.parametrize(
    ("likelihood", "check"),
    [
        (WithAbsoluteFloor(), "units_of_y_do_not_matter"),
        (InfiniteDeviation(), "standard_deviations_are_finite"),
        (DeviationOfWrongShape(), "standard_deviations_are_finite"),
        (DistributionTooWide(), "distribution_agrees_with_log_prob"),
        (TrustRisesWithTheError(), "trust_falls_with_the_error"),
        (TrustIsMissing(), "trust_falls_with_the_error"),
        (WeightsIgnored(), "weights_are_repeated_rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_check_finds_its_defect(likelihood, check):
    sound = type(likelihood).__mro__[1]()
    dict(check_likelihood(sound))[check]()
    with pytest.raises(AssertionError, match=r"\w"):
        dict(check_likelihood(likelihood))[check]()
