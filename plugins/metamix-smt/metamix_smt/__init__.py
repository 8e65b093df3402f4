"""Surrogates of the Surrogate Modeling Toolbox (Saves et al. 2024) as experts of metamix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from smt.surrogate_models import KPLS, KRG, RBF

__all__ = ["KrigingRegressor", "RadialRegressor", "kpls", "kriging", "rbf"]


class Surrogate(RegressorMixin, BaseEstimator, ABC):
    """A model of SMT, which is trained again from its rows when it predicts: files of mixtures cannot store it."""

    def fit(self, X: Any, y: Any) -> Surrogate:
        """Fit to X (n, d) and y (n,); rows with equal columns become one, with their mean."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        X, row, count = np.unique(X, axis=0, return_inverse=True, return_counts=True)
        y, random = np.bincount(row, y) / count, check_random_state(self.random_state)
        rows = random.permutation(len(X))[: self.max_rows]
        self.X_, self.y_ = X[rows], y[rows]
        self.settings_ = self._tuned(int(random.randint(2**31 - 1)))
        return self

    def predict(self, X: Any) -> Any:
        """Predictions (n,)."""
        X = self._checked(X)
        return self._trained(self._made(**self.settings_)).predict_values(X)[:, 0]

    def predict_gradient(self, X: Any) -> Any:
        """Gradient of the prediction (n, d)."""
        X = self._checked(X)
        surrogate = self._trained(self._made(**self.settings_))
        return np.column_stack([surrogate.predict_derivatives(X, j)[:, 0] for j in range(X.shape[1])])

    @abstractmethod
    def _made(self, **settings: Any) -> Any:
        """The untrained model."""

    def _tuned(self, seed: int) -> dict[str, Any]:
        """Settings that were learned from the rows."""
        return {}

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64)

    def _trained(self, surrogate: Any) -> Any:
        surrogate.set_training_values(self.X_, self.y_)
        surrogate.train()
        return surrogate


class KrigingRegressor(Surrogate):
    """`smt.surrogate_models.KRG` or `KPLS` with estimated noise, for standardised columns and targets.

    Parameters
    ----------
    corr, poly, n_start : as for KRG
    n_comp : int or None, default=None
        None is KRG, with a length scale for each column; a number is KPLS, with one for each of so many components of
        partial least squares (Bouhlel et al. 2016), for many columns.
    max_rows : int, default=500
        Rows drawn at random where there are more: time and memory grow as n³ and n².
    random_state : int or None, default=None
    """

    def __init__(
        self,
        corr: str = "squar_exp",
        poly: str = "constant",
        n_start: int = 3,
        n_comp: int | None = None,
        max_rows: int = 500,
        random_state: int | None = None,
    ) -> None:
        self.corr, self.poly, self.n_start, self.n_comp = corr, poly, n_start, n_comp
        self.max_rows, self.random_state = max_rows, random_state

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions (n,), and standard deviations (n,) of y, its noise included, where asked."""
        if not return_std:
            return super().predict(X)
        X = self._checked(X)
        surrogate = self._trained(self._made(**self.settings_))
        noise = surrogate.optimal_par["sigma2"][0] * surrogate.optimal_noise  # relative to that of the process
        deviation = np.sqrt(np.maximum(surrogate.predict_variances(X)[:, 0], 0.0) + noise)
        return surrogate.predict_values(X)[:, 0], deviation

    def _tuned(self, seed: int) -> dict[str, Any]:
        # TNC, the default of SMT, knows no noise.
        found = self._trained(self._made(hyper_opt="Cobyla", n_start=self.n_start, seed=seed))
        return {
            "hyper_opt": "NoOp",
            "theta0": found.optimal_theta.tolist(),
            "noise0": [float(found.optimal_noise)],
        }

    def _made(self, **settings: Any) -> Any:
        common = {"corr": self.corr, "poly": self.poly, "eval_noise": True, "print_global": False, **settings}
        if self.n_comp is None:
            return KRG(**common)
        return KPLS(n_comp=min(self.n_comp, self.X_.shape[1]), **common)


class RadialRegressor(Surrogate):
    """`smt.surrogate_models.RBF`, which goes through its rows, for standardised columns and targets.

    Parameters
    ----------
    d0, poly_degree, reg : as for RBF
    max_rows, random_state : as for `KrigingRegressor`
    """

    def __init__(
        self,
        d0: float = 1.0,
        poly_degree: int = 1,
        reg: float = 1e-6,
        max_rows: int = 500,
        random_state: int | None = None,
    ) -> None:
        self.d0, self.poly_degree, self.reg = d0, poly_degree, reg
        self.max_rows, self.random_state = max_rows, random_state

    def _made(self, **settings: Any) -> Any:
        return RBF(d0=self.d0, poly_degree=self.poly_degree, reg=self.reg, print_global=False, **settings)


def kriging(**parameters: Any) -> Any:
    """Kriging on prepared columns; parameters are those of `KrigingRegressor`.

    Examples
    --------
    >>> kriging(corr="matern52").named_steps["model"].regressor
    KrigingRegressor(corr='matern52')
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(KrigingRegressor(**parameters))


def kpls(**parameters: Any) -> Any:
    """Kriging on two components of partial least squares; parameters are those of `KrigingRegressor`."""
    return kriging(**{"n_comp": 2, **parameters})


def rbf(**parameters: Any) -> Any:
    """Radial basis functions on prepared columns; parameters are those of `RadialRegressor`."""
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(RadialRegressor(**parameters))
