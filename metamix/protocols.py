"""The three contracts of a mixture (expert, gate, likelihood) and the axis rule, written once.

Axis rule: **axis 0 is rows (n), axis 1 is experts (K), an optional trailing axis is classes (C) or
tasks (T).** Predictions are (n, K), (n, K, C) or (n, K, T); gate weights, known *before* y is seen, and
responsibilities, known *after*, are (n, K) and their rows sum to one over K.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]

#: What a differentiable gate descends on: weights (n, K) in; loss (n,) and its gradient (n, K) with
#: respect to the weights out. Rows are independent: loss[i] depends on weights[i] only.
Objective: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


@runtime_checkable
class Expert(Protocol):
    """Anything that learns and answers in scikit-learn's style; it knows nothing of mixtures.

    ``fit`` may take ``sample_weight``; classifiers also have ``predict_proba``, or values to calibrate. With
    ``partial_fit`` a mixture continues training with batches: copies of the expert learn, or with an attribute
    ``learns_in_place = True`` the expert itself, for models that are copied more slowly than they learn.
    """

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from X (n, d) and y (n,)."""

    def predict(self, X: Any) -> Any:
        """Answer the rows of X (n, d): (n,)."""


@runtime_checkable
class Gate(Protocol):
    """Weights of the experts in each row: a classifier over experts, fitted to responsibilities."""

    def fit(self, X: Any, responsibilities: FloatArray, sample_weight: FloatArray | None = None) -> Any:
        """Learn from X (n, d) and responsibilities (n, K); sample_weight is (n,) or None."""

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K), rows summing to one."""


@runtime_checkable
class DifferentiableGate(Gate, Protocol):
    """A gate that can also descend on a loss of the combined answer."""

    def fit_objective(
        self,
        X: Any,
        objective: Objective,
        start: FloatArray | None = None,
        sample_weight: FloatArray | None = None,
    ) -> Any:
        """Minimise the mean of objective(weights)[0], beginning at constant weights start (K,)."""


@runtime_checkable
class PathGate(DifferentiableGate, Protocol):
    """A differentiable gate whose penalty training may choose along a path.

    ``penalty`` is a number, or "path" where training chooses it out of fold.
    """

    penalty: float | str

    def fit_path(
        self,
        X: Any,
        target: Objective | FloatArray,
        penalties: Sequence[float],
        start: FloatArray | None = None,
        sample_weight: FloatArray | None = None,
    ) -> list[Any]:
        """One fitted gate per penalty, in the order given.

        ``target`` is an objective or responsibilities (n, K); ``start`` are constant weights (K,).
        """


@runtime_checkable
class ContinuedPathGate(PathGate, Protocol):
    """A gate whose path can be continued from a fitted gate, which saves time and lets training refine it."""

    def continue_path(
        self,
        X: Any,
        target: Objective | FloatArray,
        penalties: Sequence[float],
        fitted: Any,
        sample_weight: FloatArray | None = None,
        adaptive: bool = False,
    ) -> list[Any]:
        """As `fit_path`, from the solution of a gate that was fitted over the same columns.

        ``adaptive`` penalises each column in inverse proportion to the square of its slopes.
        """


@runtime_checkable
class SequentialGate(Gate, Protocol):
    """A gate whose weights follow the losses of rows in their order, and go on from the last row seen."""

    def follow(self, objectives: Iterable[Objective], sample_weight: FloatArray | None = None) -> FloatArray:
        """Learn from the losses of rows in their order.

        Parameters
        ----------
        objectives : iterable of n objectives
            For each row: weights (1, K) in; loss (1,) and its gradient (1, K) in the weights out.
        sample_weight : ndarray of shape (n,) or None
            Losses are multiplied by it.

        Returns
        -------
        ndarray of shape (n, K)
            The weights before each row, which have not seen its loss.
        """


@runtime_checkable
class IncrementalGate(Gate, Protocol):
    """A gate that follows the responsibilities of new rows by decayed statistics.

    A shallow copy of the gate is asked, so that fitted attributes are replaced and none is changed in place.
    """

    def partial_fit(
        self, X: Any, responsibilities: FloatArray, sample_weight: FloatArray | None = None, *, step: float
    ) -> Any:
        """Move the statistics of a fitted gate towards those of new rows.

        Parameters
        ----------
        X : array, sparse matrix or frame of shape (n, d)
        responsibilities : ndarray of shape (n, K)
        sample_weight : ndarray of shape (n,) or None
        step : float
            How far, between 0 and 1.

        Returns
        -------
        self
        """


@runtime_checkable
class Likelihood(Protocol):
    """How good an answer was, vectorised over experts.

    ``scale`` (n, K) is the experts' own predictive standard deviation, NaN where an expert has none; ``X`` are
    the rows, for scales that depend on them.

    What more there may be: ``standard_deviation(predictions, scale, X) -> (n, K)`` and
    ``distribution(predictions, scale, X)``, a frozen scipy distribution or the like, give the mixture its
    standard deviations, quantiles and draws; ``trust(y, predictions, scale, X) -> (n, K)`` says by how much a
    row counts when an expert is refitted, which is what makes a likelihood robust; ``stabilised(y)`` (n,) is y
    as proxy mixtures, whose errors are Gaussian, should see it in the search for regimes; ``admissible(predictions)``
    are predictions as means that the distribution can have, before it is fitted; ``deviance(y, predictions)`` is the
    loss of each row that candidates are judged by instead of the squared error; ``partial_fit(y, predictions,
    responsibilities, scale, X, step=)`` moves its statistics towards those of new rows by a step between 0 and 1.
    """

    def fit(
        self,
        y: Any,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Any:
        """Learn the parameters of each expert from y (n,), predictions and responsibilities."""

    def log_prob(self, y: Any, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Log density or log probability (n, K) of y under each expert; NaN where it gave no answer."""
