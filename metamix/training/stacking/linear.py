"""Linear stacking: a ridge regression on the experts' predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from metamix.data.row_keys import distinct_rows
from metamix.training.stacking.base import BoundedStack, StackData

__all__ = ["LinearStack"]

Array = NDArray[np.float64]

#: Penalties of linear stacks, those of `sklearn.linear_model.RidgeCV`.
ALPHAS = (0.1, 1.0, 10.0)
#: Leverages nearer to 1 than this are rounding.
ROUNDING = 1e-6


class LinearStack(BoundedStack):
    """Linear stacking: a ridge regression on the experts' predictions, as `StackingRegressor` has it by default.

    Predictions and y are measured in standard deviations of y, so that the penalty does not depend on its unit. The
    penalty has the smallest leave-one-out error, as in `RidgeCV`. Weights have no unit: they are scaled to sum to the
    effective number of rows; a row of weight 2 is two rows, which are left out together.

    Attributes
    ----------
    oof_, inside_, margin_
        As of `BoundedStack`.
    coef_ : ndarray of shape (K,)
    intercept_ : float

    References
    ----------
    Wolpert (1992), Stacked generalization; Breiman (1996), Stacked regressions.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=60)
    >>> answers = y[:, None] / 2 + rng.normal(scale=0.01, size=(60, 2))
    >>> halves = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    >>> bool(LinearStack().fit(answers, y, halves).coef_.sum() > 1.5)
    True
    """

    @property
    def coef_(self) -> Array:
        """Coefficients (K,)."""
        return np.asarray(self.model_[0])

    @property
    def intercept_(self) -> float:
        """Intercept, in the units of y."""
        return float(self.model_[1])

    def _model(self, data: StackData, choice: Any) -> tuple[Array, float] | None:
        if len(data.y) < 2:
            return None
        share = data.weight / data.weight.sum()
        centre = float(share @ data.y)
        unit = float(np.sqrt(share @ (data.y - centre) ** 2)) or 1.0
        predictions, y = (data.predictions - centre) / unit, (data.y - centre) / unit
        # Copies of a row are one row that is left out, even if the last digits of their predictions differ.
        found = distinct_rows(data.weight, np.float32(data.predictions), data.y)
        predictions, y, share = predictions[found.rows], y[found.rows], found.weight / found.weight.sum()
        counts = share / np.square(share).sum()
        mean = share @ predictions
        values, vectors = eigh((predictions - mean).T @ (counts[:, None] * (predictions - mean)))
        rotated = (predictions - mean) @ vectors
        moments = rotated.T @ (counts * y)
        best, coef = np.inf, np.zeros(len(mean))
        for alpha in ALPHAS:
            slopes = moments / (np.maximum(values, 0) + alpha)
            leverage = 1 / counts.sum() + np.square(rotated) @ (1 / (np.maximum(values, 0) + alpha))
            left_out = (y - rotated @ slopes) / np.maximum(1 - counts * leverage, ROUNDING)
            loss = float(counts @ np.square(left_out))
            if loss < best:
                best, coef = loss, vectors @ slopes
        return coef, centre * (1 - float(coef.sum())) - unit * float(mean @ coef)

    def _answer(self, model: Any, data: StackData) -> Array:
        coef, intercept = model
        return np.asarray(data.predictions @ coef + intercept)

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        return np.einsum("k,nkd->nd", self.coef_, slopes)
