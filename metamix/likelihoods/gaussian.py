"""Normal errors, with one standard deviation per expert or one that depends on x."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from metamix.likelihoods.location_scale import LocationScale
from metamix.likelihoods.moments import root_mean_square
from metamix.likelihoods.varying import VaryingScale
from metamix.protocols import FloatArray

_LOG_ROOT_TWO_PI = 0.5 * np.log(2.0 * np.pi)


class Gaussian(LocationScale):
    """Normal errors with one standard deviation per expert, by weighted maximum likelihood.

    The variance of expert k is sum_i r_ik e_ik^2 / sum_i r_ik, exactly, as long as its root stays above
    ``floor`` times the standard deviation of y; without a floor an expert that passes through a few rows
    has an infinite likelihood. An expert that offers its own predictive standard deviation s_ik is taken
    at its word up to one factor per expert, also by maximum likelihood: c_k^2 is the weighted mean of
    (e_ik / s_ik)^2 and y_i has standard deviation c_k s_ik there. Rows where it offers none (NaN) have
    ``scale_[k]``, or with ``heteroscedastic`` what `VaryingScale` gives for their x.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest standard deviation, in standard deviations of y.
    heteroscedastic : bool, default False
        Let the logarithm of each expert's standard deviation depend on X. It is constant where no X is given.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Standard deviation of y around each expert's answer, in the units of y.
    factor_ : ndarray of shape (K,)
        What an expert's own standard deviation is multiplied by; 1 where it offers none.
    smallest_ : float
        The floor, in the units of y.
    varying_ : VaryingScale or None
        How scales depend on X.

    Examples
    --------
    >>> import numpy as np
    >>> y, predictions = np.array([1.0, -1.0, 3.0]), np.zeros((3, 1))
    >>> fitted = Gaussian().fit(y, predictions, np.array([[0.5], [0.5], [0.0]]))
    >>> fitted.scale_, fitted.log_prob([0.0], np.zeros((1, 1))).round(4)
    (array([1.]), array([[-0.9189]]))
    """

    scale_is_deviation: ClassVar[bool] = True

    def __init__(self, floor: float = 1e-4, heteroscedastic: bool = False) -> None:
        super().__init__(floor)
        self.heteroscedastic = heteroscedastic

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Gaussian:
        """As `LocationScale.fit`; the columns of X may be of any kind."""
        super().fit(y, predictions, responsibilities, scale, X)
        self.varying_ = None
        if self.heteroscedastic and X is not None:
            errors = np.asarray(y, dtype=np.float64)[:, None] - predictions
            self.varying_ = VaryingScale().fit(X, errors, responsibilities, self.scale_)
        return self

    def _usual(self, shape: tuple[int, ...], X: Any) -> FloatArray:
        usual = super()._usual(shape, X)
        if self.varying_ is None or X is None:
            return usual
        usual *= self.varying_.predict(X)
        return np.maximum(usual, self.smallest_, out=usual)

    def _size(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        return np.maximum(root_mean_square(errors, weights, fallback), least)

    def _log_density(self, errors: FloatArray) -> None:
        np.square(errors, out=errors)
        errors *= -0.5
        errors -= _LOG_ROOT_TWO_PI

    def _deviation(self) -> Any:
        return 1.0

    def _frozen(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.norm(loc=predictions, scale=scales)
