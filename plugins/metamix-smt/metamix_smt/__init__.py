"""Kriging of the Surrogate Modeling Toolbox (Saves et al. 2024) as an expert of metamix."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from smt.surrogate_models import KRG

__all__ = ["KrigingRegressor", "kriging"]


class KrigingRegressor(RegressorMixin, BaseEstimator):
    """`smt.surrogate_models.KRG` with estimated noise, for standardised columns and targets.

    Parameters
    ----------
    corr, poly, n_start : as for KRG
    max_rows : int, default=500
        Rows drawn at random where there are more: time and memory grow as n³ and n².
    random_state : int or None, default=None
    """

    def __init__(
        self,
        corr: str = "squar_exp",
        poly: str = "constant",
        n_start: int = 3,
        max_rows: int = 500,
        random_state: int | None = None,
    ) -> None:
        self.corr, self.poly, self.n_start = corr, poly, n_start
        self.max_rows, self.random_state = max_rows, random_state

    def fit(self, X: Any, y: Any) -> KrigingRegressor:
        """Fit to X (n, d) and y (n,); rows with equal columns become one, with their mean."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        X, row, count = np.unique(X, axis=0, return_inverse=True, return_counts=True)
        y, random = np.bincount(row, y) / count, check_random_state(self.random_state)
        rows = random.permutation(len(X))[: self.max_rows]
        self.X_, self.y_ = X[rows], y[rows]
        seed = int(random.randint(2**31 - 1))
        found = self._trained(hyper_opt="Cobyla", n_start=self.n_start, seed=seed)  # TNC knows no noise
        self.settings_ = {"theta0": found.optimal_theta.tolist(), "noise0": [float(found.optimal_noise)]}
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions (n,), and standard deviations (n,) of y, its noise included, where asked."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        surrogate = self._trained(hyper_opt="NoOp", **self.settings_)  # which files of mixtures cannot store
        mean = surrogate.predict_values(X)[:, 0]
        if not return_std:
            return mean
        noise = surrogate.optimal_par["sigma2"][0] * surrogate.optimal_noise  # relative to that of the process
        return mean, np.sqrt(np.maximum(surrogate.predict_variances(X)[:, 0], 0.0) + noise)

    def predict_gradient(self, X: Any) -> Any:
        """Gradient of the prediction (n, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        surrogate = self._trained(hyper_opt="NoOp", **self.settings_)
        return np.column_stack([surrogate.predict_derivatives(X, j)[:, 0] for j in range(X.shape[1])])

    def _trained(self, **settings: Any) -> Any:
        surrogate = KRG(corr=self.corr, poly=self.poly, eval_noise=True, print_global=False, **settings)
        surrogate.set_training_values(self.X_, self.y_)
        surrogate.train()
        return surrogate


def kriging(**parameters: Any) -> Any:
    """Kriging on prepared columns; parameters are those of `KrigingRegressor`.

    Examples
    --------
    >>> kriging(corr="matern52").named_steps["model"].regressor
    KrigingRegressor(corr='matern52')
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(KrigingRegressor(**parameters))
