"""Weights that follow time: online aggregation with learning rates that are learned, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from metamix.gates.constant import ConstantWeights
from metamix.gates.simplex import count_experts
from metamix.gates.soft_labels import count_rows
from metamix.protocols import FloatArray, Objective

#: Learning rates 1, 1/2, 1/4, … in units of the inverse of the largest loss. The smallest is right for 100,000 rows.
_RATES = 0.5 ** np.arange(10)


class OnlineGate(ConstantWeights):
    """The same weights for every x, which follow the losses of the experts in the order of the rows.

    Each expert has a mass for each of ten learning rates. When a row has been seen, the mass of expert k at rate η is
    multiplied by 1 + η rₖ, where rₖ is by how much the loss of expert k was below that of the weighted prediction, to
    first order: rₖ = Σⱼ wⱼ gⱼ - gₖ with the gradient g of the loss in the weights w. The weight of an expert is the sum
    of its masses times their rates. This is the second-order update of Bernstein online aggregation in its product form
    (ML-Prod), where learning rates compete as experts do, so that none is to be set; for log-losses the rate 1 is the
    rule of Bayes. After row t a share 1 / (t + 1) of the mass is given back to all experts: one that was bad for long
    is found soon when it becomes good, and the loss is close to that of the best weights of any stretch of time.

    It is judged row by row, as if y of each row were known before the next is predicted. `predict` answers with the
    weights after the last row; `partial_fit` of the mixture lets them follow further rows.

    With convex losses whose slopes are bounded, the loss of n rows is above that of the best expert, and of the best
    constant weights, by O(√(V ln(K n))) at most, where V is the sum of rₖ² over the rows.

    Parameters
    ----------
    switching : bool, default True
        Give a share back after each row. Without, the gate approaches the best constant weights.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        After the last row.
    mass_ : ndarray of shape (10, K)
    range_ : float
        Unit of the learning rates: no expert was worse by more in a row, but for outliers. It at most doubles at a row.
    n_rows_ : int
        Rows seen.
    n_experts_ : int

    References
    ----------
    Gaillard, Stoltz & van Erven (2014), A second-order bound with excess losses; Wintenberger (2017), Optimal learning
    with Bernstein online aggregation; Koolen & van Erven (2015) for learning rates that compete; Adamskiy, Koolen,
    Chernov & Vovk (2012), A closer look at adaptive regret, for the share of 1 / (t + 1).

    Examples
    --------
    Expert 0 has the smaller loss in 50 rows, then expert 1; the loss of a weighted prediction is the weighted loss:

    >>> def row(losses):
    ...     return lambda weights: ((weights * losses).sum(axis=1), np.tile(losses, (1, 1)))
    >>> gate = OnlineGate()
    >>> path = gate.follow([row(np.array([0.0, 1.0]))] * 50 + [row(np.array([1.0, 0.0]))] * 50)
    >>> path[[0, 49]].round(2), gate.weights_.round(2)
    (array([[0.5 , 0.5 ],
           [0.98, 0.02]]), array([0.01, 0.99]))
    """

    mass_: FloatArray
    range_: float
    n_rows_: int

    def __init__(self, switching: bool = True) -> None:
        self.switching = switching

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Set the weights to the mean responsibilities, which have no order; `follow` continues from there.

        Parameters
        ----------
        X : any table of n rows
            Only its number of rows is used.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        OnlineGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If responsibilities or sample_weight do not match X or are not finite.
        """
        return self.begin(self._mean_weights(X, responsibilities, sample_weight), count_rows(X))

    def begin(self, weights: ArrayLike, n_rows: int = 0) -> Self:
        """Begin with some weights; masses of learning rates and the unit of losses begin anew.

        Parameters
        ----------
        weights : array-like of shape (K,)
            They sum to one.
        n_rows : int
            How many rows they are worth: with many they are shared less at a row.

        Returns
        -------
        OnlineGate
            Itself.
        """
        self.weights_ = np.array(weights, dtype=np.float64)
        self.n_experts_, self.range_, self.n_rows_ = len(self.weights_), 0.0, n_rows
        self.mass_ = np.tile(self.weights_, (len(_RATES), 1)) / len(_RATES)
        return self

    def follow(self, objectives: Iterable[Objective], sample_weight: ArrayLike | None = None) -> FloatArray:
        """Learn from rows in their order, beginning with the weights after the last row seen, or with equal ones.

        Parameters
        ----------
        objectives : iterable of n objectives
            For each row: weights (1, K) in; loss (1,) and its gradient (1, K) in the weights out.
        sample_weight : array-like of shape (n,), optional
            Losses are multiplied by it; rows of weight zero are not learned from.

        Returns
        -------
        ndarray of shape (n, K)
            The weights before each row: they have not seen its loss.
        """
        rows = list(objectives)
        if not hasattr(self, "mass_"):
            K = count_experts(rows[0], 1)
            self.begin(np.full(K, 1 / K))
        weight = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        path = np.empty((len(rows), self.n_experts_))
        for i, objective in enumerate(rows):
            path[i] = self.weights_
            if weight[i] > 0:
                slope = weight[i] * objective(self.weights_[None])[1][0]
                self._learn(self.weights_ @ slope - slope)
        return path

    def _learn(self, regret: FloatArray) -> None:
        """Update the masses by how much better (K,) each expert was than the weighted prediction in a row."""
        worst = float(-regret.min())
        if worst > 0:
            self.range_ = self.range_ or worst
            # Masses stay positive for regrets above -range; of a row beyond, the regrets are scaled down to it.
            self.mass_ *= 1 + np.outer(_RATES, regret / max(worst, self.range_))
            if worst > self.range_:  # the unit doubles: each rate is what the one above it was
                self.range_ *= 2
                slowest = np.full((1, self.n_experts_), self.mass_.sum() / self.mass_.size)
                self.mass_ = np.vstack([self.mass_[1:], slowest])
        self.n_rows_ += 1
        self.mass_ /= self.mass_.sum()
        if self.switching:
            share = 1 / (self.n_rows_ + 1)
            self.mass_ = (1 - share) * self.mass_ + share / self.mass_.size
        found = _RATES @ self.mass_
        self.weights_ = found / found.sum()
