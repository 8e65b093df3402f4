"""The gate along a line: soft labels interpolated between neighbouring rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.derivatives import softmax_gradient
from metamix.gates.gaussian import GaussianGate
from metamix.gates.soft_labels import check_responsibilities, check_row_weights
from metamix.protocols import FloatArray

#: Ranks of evenly placed rows tell their places to so many rows; at random they stray by 0.8 √n. Steps of a
#: Latin hypercube differ by 0.4 of their mean, those of a regular grid not at all.
_STRAY, _FEWEST, _REGULAR = 2.0, 20, 0.1


class LineGate(BaseEstimator):
    """Responsibilities interpolated linearly between the rows of a single column.

    Where neighbours belong to different experts, the border may be anywhere between them, and with every place
    equally likely the expected weights are a straight line: no other weights have a smaller expected squared
    error. Where rows fill the line evenly and yet by chance, as a Latin hypercube does, how many of them lie on
    either side says more: Gaussians fitted to intervals that are evenly filled have the same density where the
    intervals meet. The weights are then multiplied by theirs. (On a regular grid the count is the place.)

    Parameters
    ----------
    sharpness : float, default 16.0
        Power of the Gaussians' odds. The larger, the more is left to them.

    Attributes
    ----------
    places_ : ndarray of shape (m,)
        Distinct places of the rows that count, in order.
    labels_ : ndarray of shape (m, K)
        Their mean responsibilities.
    gaussians_ : GaussianGate or None
        FittedExpert where rows fill the line evenly, though not in equal steps.
    n_experts_ : int

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [3.0], [4.0]])
    >>> LineGate().fit(X, np.repeat(np.eye(2), 2, axis=0)).predict_proba([[1.5], [9.0]])
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """

    def __init__(self, sharpness: float = 16.0) -> None:
        self.sharpness = sharpness

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Mean responsibilities at each place.

        Parameters
        ----------
        X : array-like of shape (n, 1)
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None
            Rows without weight take no part.

        Returns
        -------
        LineGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If X has more than one column or missing values, responsibilities or sample_weight do not match it,
            or sharpness is not above zero.
        """
        if not self.sharpness > 0:
            raise ValueError(
                f"sharpness={self.sharpness!r} is not above zero; 1 leaves the Gaussians' odds as they are."
            )
        X = validate_data(self, X)
        if X.shape[1] != 1:
            raise ValueError(
                f"LineGate interpolates along one column and X has {X.shape[1]}; choose it by gate_features."
            )
        labels = check_responsibilities(responsibilities, len(X))
        weight = check_row_weights(sample_weight, len(X))
        rows = np.flatnonzero(weight)
        x, labels, weight = X[rows, 0], labels[rows], weight[rows]
        self.n_experts_ = labels.shape[1]
        self.places_, place = np.unique(x, return_inverse=True)
        sums = np.zeros((len(self.places_), self.n_experts_))
        np.add.at(sums, place, labels * weight[:, None])
        self.labels_ = sums / np.bincount(place, weights=weight)[:, None]
        even = _evenly_filled(x) and np.ptp(weight) == 0
        gaussians = GaussianGate(shrinkage=0.0, sharpness=self.sharpness)
        self.gaussians_ = gaussians.fit(x[:, None], labels) if even else None
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the rows of X (n, 1); beyond the outermost rows theirs."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        weights = self._interpolated(X[:, 0])
        if self.gaussians_ is not None:
            joint = weights * self.gaussians_.predict_proba(X)
            total = joint.sum(axis=1, keepdims=True)
            weights = np.divide(joint, total, out=weights, where=total > 0)
        return weights

    def weights_gradient(self, X: Any) -> FloatArray:
        """How the weights change with the column: (n, K, 1) for the rows of X (n, 1); at rows, to their right."""
        weights = self.predict_proba(X)
        x = validate_data(self, X, reset=False)[:, 0]
        slopes = np.zeros(weights.shape)
        left = np.searchsorted(self.places_, x, side="right") - 1
        inside = np.flatnonzero((left >= 0) & (left < len(self.places_) - 1))
        left = left[inside]
        steps = np.diff(self.labels_, axis=0) / np.diff(self.places_)[:, None]
        slopes[inside] = steps[left]
        if self.gaussians_ is None:
            return slopes[:, :, None]
        plain = self._interpolated(x)
        logs = np.divide(slopes, plain, out=np.zeros_like(slopes), where=plain > 0)[:, :, None]
        theirs = self.gaussians_.predict_proba(X)
        own = np.divide(self.gaussians_.weights_gradient(X), theirs[:, :, None], out=np.zeros_like(logs),
                        where=theirs[:, :, None] > 0)  # fmt: skip
        return softmax_gradient(weights, logs + own)

    def _interpolated(self, x: FloatArray) -> FloatArray:
        return np.column_stack([np.interp(x, self.places_, column) for column in self.labels_.T])


def _evenly_filled(x: FloatArray) -> bool:
    """Whether numbers fill their range evenly, in steps that differ.

    Examples
    --------
    >>> grid = np.linspace(0, 1, 50)
    >>> strata = (np.arange(50) + np.random.default_rng(0).random(50)) / 50
    >>> _evenly_filled(strata), _evenly_filled(strata**2), _evenly_filled(grid)
    (True, False, False)
    """
    n = len(x)
    if n < _FEWEST or np.ptp(x) == 0:
        return False
    place = (np.sort(x) - x.min()) / np.ptp(x)
    stray, uneven = np.abs(place - np.linspace(0, 1, n)).max() * n, np.diff(place).std() * n
    return bool(stray <= _STRAY and uneven > _REGULAR)
