"""Pipelines of the named experts: the order of rows and the unit of weights do not matter; equal rows may be merged."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from metamix.data.row_keys import content_order, distinct_rows
from metamix.data.tables import n_rows, take_rows
from metamix.experts.weighting import checked_weights
from metamix.fitting.expert import takes_weights

__all__ = ["MergedPipeline", "OrderedPipeline", "PenalisedLogistic", "PenalisedRidge"]

Array = NDArray[np.float64]

#: Total weight of the rows to which the penalties of `PenalisedRidge` and `PenalisedLogistic` refer.
TOTAL_WEIGHT = 1000.0
#: Smallest difference of weights of mean one; a power of two, so that sums are exact.
DIGIT = 2.0**-30


class OrderedPipeline(Pipeline):
    """A pipeline whose rows are put into an order that depends on their content only, and whose weights have mean one.

    Rows without weight are left out. Weights are those of the last step.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> line = OrderedPipeline([("model", Ridge())])
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 5.0])
    >>> one = line.fit(X, y, model__sample_weight=[1.0, 2.0, 3.0]).predict([[3.0]])
    >>> other = line.fit(X[::-1], y[::-1], model__sample_weight=[300.0, 200.0, 100.0]).predict([[3.0]])
    >>> bool(np.isclose(one, other)[0])
    True
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,): ``sample_weight`` or ``model__sample_weight``."""
        parameter = f"{self.steps[-1][0]}__sample_weight"
        given = params.pop(parameter, params.pop("sample_weight", None))
        y = np.asarray(y)
        weight = checked_weights(given, n_rows(X))
        rows, weight = self._rows(X, y, weight)
        takes = takes_weights(self)
        if takes is None and given is not None:
            raise TypeError(f"{self.steps[-1][1]!r} takes no sample_weight; draw rows in proportion to it instead.")
        if takes is not None and np.ptp(weight) > 0:
            # Rounded, so that ties between splits of a tree do not turn on the unit of the weights.
            params[takes] = np.maximum(np.round(weight / weight.mean() / DIGIT), 1.0) * DIGIT
        with config_context(enable_metadata_routing=False):  # weights are passed on directly, not by request
            super().fit(take_rows(X, rows), y[rows], **params)
        return self

    def _rows(self, X: Any, y: NDArray[Any], weight: Array) -> tuple[NDArray[np.intp], Array]:
        """Positions of the rows to fit, in order, and their weights."""
        order = content_order(X, y, weight)
        rows = order[weight[order] > 0]
        return rows, weight[rows]


class MergedPipeline(OrderedPipeline):
    """The same with equal rows of X and y merged, so that a row of weight two is exactly two rows.

    For models that count rows in no parameter: where columns have few values, few rows are left.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> line = MergedPipeline([("model", Ridge())])
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 5.0])
    >>> one = line.fit(X, y, model__sample_weight=[1.0, 2.0, 1.0]).predict([[3.0]])
    >>> other = line.fit(X[[1, 0, 1, 2]], y[[1, 0, 1, 2]]).predict([[3.0]])
    >>> bool(one[0] == other[0])
    True
    """

    def _rows(self, X: Any, y: NDArray[Any], weight: Array) -> tuple[NDArray[np.intp], Array]:
        if takes_weights(self) is None:
            return super()._rows(X, y, weight)
        found = distinct_rows(weight, X, y)
        return found.rows, found.weight


class PenalisedRidge(Ridge):
    """Ridge regression whose penalty is per unit of total weight: `alpha` is that of 1,000 rows of weight one."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,)."""
        super().fit(X, y, sample_weight=_of_total(sample_weight, n_rows(X)))
        return self


class PenalisedLogistic(LogisticRegression):
    """Logistic regression whose penalty is per unit of total weight: `C` is that of 1,000 rows of weight one."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n, d), labels y (n,) and weights (n,)."""
        super().fit(X, y, sample_weight=_of_total(sample_weight, n_rows(X)))
        return self


def _of_total(sample_weight: Any, n: int) -> Array:
    weight = checked_weights(sample_weight, n)
    return weight * (TOTAL_WEIGHT / weight.sum())
