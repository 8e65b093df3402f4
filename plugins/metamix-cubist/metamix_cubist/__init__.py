"""Cubist, rules with linear models (Quinlan 1992), as an expert of metamix."""

from __future__ import annotations

from typing import Any

import pandas as pd
from cubist import Cubist

__all__ = ["CubistRegressor", "regressor"]

#: What Cubist keeps for display only, as frames, which files of mixtures cannot store.
SHOWN = ("splits_", "coeffs_", "feature_statistics_", "feature_importances_")


class CubistRegressor(Cubist):
    """`cubist.Cubist` for arrays of numbers; parameters are the same. Copies in files have no tables for display."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CubistRegressor:
        """Fit to X (n, d), y (n,) and weights (n,)."""
        super().fit(_named(X), y, sample_weight)
        return self

    def predict(self, X: Any) -> Any:
        """Predictions (n,) of the rows of X (n, d)."""
        return super().predict(_named(X))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in SHOWN}


def _named(X: Any) -> Any:
    """Columns with names: Cubist gives arrays names in fit, and misses them in predict."""
    return X if isinstance(X, pd.DataFrame) else pd.DataFrame(X).add_prefix("x")


def regressor(**parameters: Any) -> Any:
    """Cubist on prepared columns; parameters are those of `cubist.Cubist`.

    Examples
    --------
    >>> regressor(n_committees=5).named_steps["model"].regressor
    CubistRegressor(n_committees=5)
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(CubistRegressor(**parameters))
