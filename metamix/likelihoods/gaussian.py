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

    The variance of expert k is sum_i r_ik e_ik^2 / sum_i r_ik, where r are responsibilities and e errors. The
    standard deviation is at least ``floor`` times that of y; without a floor an expert that interpolates a few
    rows has an infinite likelihood. If expert k predicts a standard deviation s_ik of its own, that of y_i is
    c_k s_ik, where c_k^2 is the weighted mean of (e_ik / s_ik)^2, the maximum likelihood estimate. Rows without
    one (NaN) have ``scale_[k]``, or with ``heteroscedastic`` the prediction of `VaryingScale`.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest standard deviation, in standard deviations of y.
    heteroscedastic : bool, default False
        Model the logarithm of each expert's standard deviation as a function of X; constant if no X is given.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Standard deviation of y around the predictions of each expert, in the units of y.
    factor_ : ndarray of shape (K,)
        Factor c_k of the experts' own standard deviations; 1 for experts without.
    smallest_ : float
        Smallest standard deviation, in the units of y.
    mass_ : ndarray of shape (2, K)
        Mean responsibilities over the rows behind `scale_` and `factor_`; what these count for in `partial_fit`.
    varying_ : VaryingScale or None
        Model of the scale as a function of X.

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
        """As `LocationScale.fit`; X may have columns of any type."""
        super().fit(y, predictions, responsibilities, scale, X)
        self.varying_ = None
        if self.heteroscedastic and X is not None:
            errors = np.asarray(y, dtype=np.float64)[:, None] - predictions
            self.varying_ = VaryingScale().fit(X, errors, responsibilities, self.scale_)
        return self

    def _default_scales(self, shape: tuple[int, ...], X: Any) -> FloatArray:
        scales = super()._default_scales(shape, X)
        if self.varying_ is None or X is None:
            return scales
        scales *= self.varying_.predict(X)
        return np.maximum(scales, self.smallest_, out=scales)

    def _fit_scale(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        return np.maximum(root_mean_square(errors, weights, fallback), least)

    def _log_density(self, errors: FloatArray) -> None:
        np.square(errors, out=errors)
        errors *= -0.5
        errors -= _LOG_ROOT_TWO_PI

    def _unit_deviation(self) -> Any:
        return 1.0

    def _scipy_distribution(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.norm(loc=predictions, scale=scales)
