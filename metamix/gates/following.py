"""How a softmax gate follows new rows: a proximal step in the metric of decayed statistics of the rows before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from metamix.gates.descent import Coefficients, MeanLoss
from metamix.gates.standardised import StandardisedColumns
from metamix.protocols import FloatArray

__all__ = ["Metric", "curvature_of", "follow"]

#: Correlations of more columns are not kept: their matrix would be larger than everything else in a gate.
MOST_CORRELATED = 200
#: Where a gate is sure of every row there is no curvature, and a single row would move it by any amount; at least this
#: share of the curvature of constant weights is assumed.
LEAST_CURVATURE = 1e-4
#: Most steps of the solver, and where it stops; what is left to do is done with the next rows.
MAX_ITER, TOLERANCE = 100, 1e-7


def curvature_of(weights: FloatArray, row_weights: FloatArray) -> FloatArray:
    """Mean of diag(g) - g gᵀ, (K, K), over the weights g of rows (n, K): how fast their loss bends in the logits.

    Examples
    --------
    >>> curvature_of(np.array([[0.5, 0.5]]), np.ones(1))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    weighted = row_weights[:, None] * weights
    shares = weighted.sum(axis=0)
    return np.asarray(np.diag(shares) - weights.T @ weighted)


@dataclass(frozen=True)
class Metric:
    """Curvature of the mean cross-entropy over rows, as the product of a factor for columns and one for experts.

    Parameters
    ----------
    mean, deviation : ndarray of shape (q,)
    correlation : ndarray of shape (q, q) or None
        None takes columns for uncorrelated.
    curvature : ndarray of shape (K, K)
        As of `curvature_of`.

    References
    ----------
    Martens & Grosse (2015), Optimizing neural networks with Kronecker-factored approximate curvature.
    """

    mean: FloatArray
    deviation: FloatArray
    correlation: FloatArray | None
    curvature: FloatArray

    @classmethod
    def of(cls, columns: StandardisedColumns, curvature: FloatArray) -> Metric:
        """The metric at some rows."""
        correlation = columns.correlation() if columns.q <= MOST_CORRELATED else None
        return cls(columns.mean, columns.deviation, correlation, curvature)

    def moved(self, new: Metric, step: float) -> Metric:
        """The metric at rows of which new ones are the share `step`."""
        away = new.mean - self.mean
        within = (1 - step) * np.square(self.deviation) + step * np.square(new.deviation)
        deviation = np.sqrt(within + step * (1 - step) * np.square(away))
        correlation = None
        if self.correlation is not None and new.correlation is not None:
            inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
            before, after, between = self.deviation * inverse, new.deviation * inverse, away * inverse
            correlation = (1 - step) * self.correlation * np.outer(before, before)
            correlation += step * new.correlation * np.outer(after, after)
            correlation += step * (1 - step) * np.outer(between, between)
        curvature = (1 - step) * self.curvature + step * new.curvature
        return Metric(self.mean + step * away, deviation, correlation, curvature)


def follow(
    loss: MeanLoss, start: Coefficients, metric: Metric, shares: FloatArray, penalty: float, step: float
) -> tuple[Coefficients, int]:
    """Minimise step · (loss + penalty / 2 · ‖slopes‖²) + (1 - step) / 2 · ‖coefficients - start‖² in the metric.

    The second part stands for the rows before, whose loss has its minimum at the start. No rate is to be set, and where
    the law stays the minimum of all rows is where this stays, whatever the metric (implicit stochastic gradients with a
    preconditioner).

    Parameters
    ----------
    loss : callable
        Of the new rows, on columns standardised as in the metric.
    start : Coefficients
    metric : Metric
    shares : ndarray of shape (K,)
        Constant weights.
    penalty : float
    step : float

    Returns
    -------
    (Coefficients, int)
        Centred over experts, and the number of steps of the solver.

    References
    ----------
    Toulis & Airoldi (2017), Asymptotic and finite-sample properties of estimators based on stochastic gradients.
    """
    q, K = start.slopes.shape
    curvature = metric.curvature + LEAST_CURVATURE * (np.diag(shares) - np.outer(shares, shares))
    initial = np.vstack([start.intercept, start.slopes])

    def whole(point: FloatArray) -> tuple[float, FloatArray]:
        found = point.reshape(q + 1, K)
        away = found - initial
        pull = away @ curvature
        if metric.correlation is not None:
            pull[1:] = metric.correlation @ pull[1:]
        value, by_slope, by_intercept = loss(found[1:], found[0])
        value = step * (value + 0.5 * penalty * float(np.square(found[1:]).sum()))
        gradient = np.vstack([by_intercept, by_slope + penalty * found[1:]])
        return value + 0.5 * (1 - step) * float((away * pull).sum()), (step * gradient + (1 - step) * pull).ravel()

    options = {"maxiter": MAX_ITER, "gtol": TOLERANCE, "ftol": 1e-15}
    solved = minimize(whole, initial.ravel(), jac=True, method="L-BFGS-B", options=options)
    found = solved.x.reshape(q + 1, K)
    found = found - found.mean(axis=1, keepdims=True)
    return Coefficients(found[1:], found[0]), int(solved.nit)
