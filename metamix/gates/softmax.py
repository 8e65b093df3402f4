"""The gate with linear logits: multinomial logistic regression on soft labels, slopes penalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.data.scalars import is_whole
from metamix.derivatives import softmax_gradient
from metamix.gates.descent import Coefficients, Conditioning, cross_entropy, descend, objective_loss, softmax
from metamix.gates.following import MOST_CORRELATED, Metric, curvature_of, follow
from metamix.gates.simplex import count_experts, simplex_weights
from metamix.gates.soft_labels import check_responsibilities, check_row_weights, mean_responsibilities
from metamix.gates.standardised import StandardisedColumns, column_moments, row_blocks
from metamix.protocols import FloatArray, Objective

#: Experts start with at least this share of an even weight: from zero the gradient would not raise it.
_LEAST_START = 0.02
#: Largest weight of every row from which on regimes count as separated.
_SEPARATED = 1.0 - 1e-3
#: The curvature at the rows of a fit is taken from about so many of them.
_CURVATURE_ROWS = 500
#: No column's slopes are penalised by more than the square of this tells.
_LEAST_RELEVANCE = 1e-3


class SoftmaxGate(BaseEstimator):
    """Weights softmax(b + Z W), where Z are the columns of x standardised.

    Slopes are penalised and intercepts are free, so that a strong penalty is constant weights. What is
    minimised is ``mean loss + penalty / 2 · ‖W‖²``: the meaning of a penalty depends neither on the number
    of rows, nor on the units of x, nor, in `fit_objective`, on the unit of y, since the objective is
    measured in units of its mean absolute deviation over rows under constant weights.

    Parameters
    ----------
    penalty : float or "path", default "path"
        0 is plain maximum likelihood, infinity constant weights. "path" leaves the choice to training,
        which compares a path of penalties out of fold, and in sample takes 0; a gate fitted on its own then uses
        0.01. With a penalty of 0 slopes are bounded: where the columns separate the experts, the likelihood has no
        maximum (Albert & Anderson 1984).
    degree : int, default 1
        2 adds squares and products of the columns, for borders that bend.
    max_iter : int, default 1000
        Most steps of the solver.
    tol : float, default 1e-8
        Where it stops: largest component of the gradient, in coordinates of like curvature; without a penalty a
        hundredth of it. With a penalty, which bounds the curvature from below, 10 times as much is allowed, along a
        path of penalties 10,000 times, and 100 times where a path is continued.

    Attributes
    ----------
    coef_ : ndarray of shape (q, K)
        Slopes per unit of the columns of X, summing to zero over experts. In a mixture these are the columns that the
        gate sees: those of X, of a frame with a 0/1 column for each value of a category and for missing values, or
        principal components where there are many. Of degree 2 slopes of x, squares and products,
        (q + q (q + 1) / 2, K), where x are columns less `centre_` and over `spread_`.
    intercept_ : ndarray of shape (K,)
    constant_weights_ : ndarray of shape (K,)
        Weights that ignore x, from which the fit began.
    n_experts_ : int
    n_iter_ : int
    separates_ : bool
        Whether the columns separate the experts and there is no penalty, so that slopes are only held by their bound.

    References
    ----------
    Albert & Anderson (1984), On the existence of maximum likelihood estimates in logistic regression models.
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm.
    Grandvalet (1998), Least absolute shrinkage is equivalent to quadratic penalization.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> gate = SoftmaxGate(penalty=0.01).fit(X, np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))
    >>> gate.predict_proba([[-5.0], [1.5]]).round(2)
    array([[1. , 0. ],
           [0.5, 0.5]])
    """

    coef_: FloatArray
    constant_weights_: FloatArray
    intercept_: FloatArray
    n_experts_: int
    n_iter_: int
    separates_: bool
    centre_: FloatArray
    spread_: FloatArray

    def __init__(self, penalty: float | str = "path", max_iter: int = 1000, tol: float = 1e-8, degree: int = 1) -> None:
        self.penalty = penalty
        self.max_iter = max_iter
        self.tol = tol
        self.degree = degree

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Minimise the cross-entropy between responsibilities and weights.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, q)
        responsibilities : array-like of shape (n, K)
            Soft labels.
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        SoftmaxGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If X has missing values, shapes do not match or the penalty is not understood.
        """
        X = self._check(X, reset=True)
        labels = check_responsibilities(responsibilities, X.shape[0])
        return self._fit_path(X, labels, [self._penalty()], None, sample_weight)[0]

    def fit_objective(
        self,
        X: Any,
        objective: Objective,
        start: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Minimise the mean of an objective of the weights, from constant weights and zero slopes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, q)
        objective : callable
            weights (n, K) -> (loss (n,), gradient (n, K)).
        start : array-like of shape (K,) or None
            Constant weights to begin with; by default those that minimise the objective.
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        SoftmaxGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If X has missing values, shapes do not match or the penalty is not understood.
        """
        X = self._check(X, reset=True)
        return self._fit_path(X, objective, [self._penalty()], start, sample_weight)[0]

    def fit_path(
        self,
        X: Any,
        target: Objective | ArrayLike,
        penalties: Sequence[float],
        start: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> list[Self]:
        """One fitted gate per penalty, each descended from the solution of the next larger penalty.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, q)
        target : callable or array-like of shape (n, K)
            An objective as in `fit_objective`, or responsibilities as in `fit`.
        penalties : sequence of float
        start : array-like of shape (K,) or None
            Constant weights to begin with; not used with responsibilities.
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        list of SoftmaxGate
            Copies of this gate with their penalty set, in the order of penalties.

        Examples
        --------
        >>> import numpy as np
        >>> X, labels = np.array([[0.0], [1.0]]), np.eye(2)
        >>> [gate.coef_[0].round(2).tolist() for gate in SoftmaxGate().fit_path(X, labels, [np.inf, 0.5])]
        [[0.0, 0.0], [-1.04, 1.04]]
        """
        return self._copies(X, target, penalties, start, sample_weight)

    def continue_path(
        self,
        X: Any,
        target: Objective | ArrayLike,
        penalties: Sequence[float],
        fitted: SoftmaxGate,
        sample_weight: ArrayLike | None = None,
        adaptive: bool = False,
    ) -> list[Self]:
        """As `fit_path`, descended from the solution of a gate that was fitted over the same columns.

        Parameters
        ----------
        X, target, penalties, sample_weight
            As in `fit_path`.
        fitted : SoftmaxGate
        adaptive : bool
            Penalise each column in inverse proportion to the square of the slopes it had, so that columns of no use
            fade (adaptive ridge, Grandvalet 1998).

        Returns
        -------
        list of SoftmaxGate

        Examples
        --------
        >>> import numpy as np
        >>> X, labels = np.array([[0.0], [1.0]]), np.eye(2)
        >>> first = SoftmaxGate(penalty=1.0).fit(X, labels)
        >>> SoftmaxGate().continue_path(X, labels, [0.5], first)[0].coef_[0].round(2).tolist()
        [-1.04, 1.04]
        """
        return self._copies(X, target, penalties, None, sample_weight, fitted, adaptive)

    def _copies(
        self,
        X: Any,
        target: Objective | ArrayLike,
        penalties: Sequence[float],
        start: ArrayLike | None,
        sample_weight: ArrayLike | None,
        fitted: SoftmaxGate | None = None,
        adaptive: bool = False,
    ) -> list[Self]:
        """Copies of this gate, each fitted with one of the penalties."""
        asked = [check_penalty(penalty) for penalty in penalties]
        gates = [clone(self).set_params(penalty=penalty) for penalty in asked]
        if not gates:
            return []
        X = gates[0]._check(X, reset=True)
        for gate in gates[1:]:
            gate._copy_columns(gates[0])
        labels = target if callable(target) else check_responsibilities(target, X.shape[0])
        return self._fit_path(X, labels, asked, start, sample_weight, gates, fitted, adaptive)

    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Follow new rows: a fitted gate moves towards the responsibilities of these.

        Means, correlations of the columns and the curvature of the loss are kept, and move by `step`. They say how much
        the rows before hold the gate where it is.

        Parameters
        ----------
        X, responsibilities, sample_weight
            As in `fit`.
        step : float
            Between 0 and 1; 1 forgets all earlier rows.

        Returns
        -------
        SoftmaxGate
            Itself.
        """
        check_is_fitted(self)
        if step == 1:
            return self.fit(X, responsibilities, sample_weight)
        X = self._terms(self._check(X, reset=False))
        labels = check_responsibilities(responsibilities, X.shape[0])
        row_weights = check_row_weights(sample_weight, X.shape[0])
        shares = (1 - step) * self.constant_weights_ + step * mean_responsibilities(labels, row_weights)
        K, penalty = self.n_experts_, self._penalty()
        if K == 1 or not X.shape[1] or np.isinf(penalty):
            self._set(np.zeros_like(self.coef_), np.log(np.maximum(shares, np.finfo(float).tiny)), 0)
            self.constant_weights_ = shares
            return self
        new = Metric.of(StandardisedColumns(X, row_weights), curvature_of(self._softmax(X), row_weights))
        past = getattr(self, "_past", None)  # files of earlier versions have none
        metric = new if past is None else Metric(**past).moved(new, step)
        columns = StandardisedColumns(X, row_weights, (metric.mean, metric.deviation))
        start = Coefficients(metric.deviation[:, None] * self.coef_, self.intercept_ + metric.mean @ self.coef_)
        loss = cross_entropy(columns, labels, row_weights)
        found, steps = follow(loss, start, metric, shares, penalty, step)
        self._set(*columns.to_units_of_x(found.slopes, found.intercept), steps)
        self.constant_weights_, self._past = shares, vars(metric)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K); finite and summing to one however far X (n, q) lies from the training rows."""
        check_is_fitted(self)
        X = self._check(X, reset=False)
        weights = np.empty((X.shape[0], self.n_experts_))
        for rows in row_blocks(X.shape[0]):
            weights[rows] = self._softmax(self._terms(X[rows]))
        return weights

    def _softmax(self, terms: Any) -> FloatArray:
        """Weights (n, K) at terms (n, q)."""
        logits = np.asarray(terms @ self.coef_) + self.intercept_
        return softmax(np.nan_to_num(logits, posinf=1e300, neginf=-1e300))[0]

    def weights_gradient(self, X: Any) -> FloatArray:
        """How the weights change with each column: (n, K, q) for the rows of X (n, q), in the units of X."""
        weights = self.predict_proba(X)
        if self.degree == 1:
            return softmax_gradient(weights, self.coef_.T[None])
        Z = (self._check(X, reset=False) - self.centre_) / self.spread_
        q = Z.shape[1]
        slopes = np.tile(self.coef_[:q].T, (len(Z), 1, 1))
        for term, (i, j) in enumerate(zip(*np.triu_indices(q), strict=True)):
            slopes[:, :, i] += Z[:, [j]] * self.coef_[q + term]
            slopes[:, :, j] += Z[:, [i]] * self.coef_[q + term]
        return softmax_gradient(weights, slopes / self.spread_)

    def _fit_path(
        self,
        X: Any,
        target: Objective | FloatArray,
        penalties: Sequence[float],
        start: ArrayLike | None,
        sample_weight: ArrayLike | None,
        gates: list[Self] | None = None,
        warm: SoftmaxGate | None = None,
        adaptive: bool = False,
    ) -> list[Self]:
        """Solve from the largest penalty to the smallest; gates[i] takes the solution of penalties[i]."""
        gates = [self] if gates is None else gates
        row_weights = check_row_weights(sample_weight, X.shape[0])
        if self.degree != 1:
            for gate in gates:
                gate._centre(X, row_weights, warm)
        X = gates[0]._terms(X)
        q = X.shape[1]
        # Of a path that is continued the unit of the loss stays, and with it the meaning of a penalty.
        level = constant_weights(target, start, row_weights) if warm is None else warm.constant_weights_
        for gate in gates:
            gate.constant_weights_ = level
        K = len(level)
        begin = np.maximum(level, _LEAST_START / K)
        current = Coefficients(np.zeros((q, K)), np.log(begin / begin.sum()))
        finite = K > 1 and q > 0 and any(np.isfinite(penalty) for penalty in penalties)
        if finite:
            columns = StandardisedColumns(X, row_weights)
            conditioning = Conditioning(columns)
            if warm is not None:
                intercept = warm.intercept_ + columns.mean @ warm.coef_
                current = Coefficients(columns.deviation[:, None] * warm.coef_, intercept)
            loss = (
                objective_loss(columns, target, row_weights, level)
                if callable(target)
                else cross_entropy(columns, target, row_weights)
            )
        for i in sorted(range(len(penalties)), key=lambda i: -penalties[i]):
            if not finite or np.isinf(penalties[i]):
                least = np.log(np.maximum(level, np.finfo(float).tiny))
                gates[i]._set(np.zeros((q, K)), least, 0)
                continue
            # Along a path out-of-fold losses are compared, which takes fewer digits than coefficients.
            tol = self.tol * (1e-2 if penalties[i] == 0 else 1e4 if len(penalties) > 1 else 100 if warm else 10)
            # Slopes must be there before columns can be told apart by them.
            for _ in range(1 if current.slopes.any() or not adaptive else 2):
                if adaptive and current.slopes.any():
                    conditioning = conditioning.reweighted(_relevance(current.slopes))
                current, steps, bound = descend(
                    loss, conditioning, current, penalties[i], tol=tol, max_iter=self.max_iter
                )
            gates[i]._set(*columns.to_units_of_x(current.slopes, current.intercept), steps)
            gates[i].separates_ = bound or (penalties[i] == 0 and _separated(columns, current, row_weights))
            gates[i]._keep_past(X, columns, conditioning, row_weights)
        return gates

    def _keep_past(
        self, X: Any, columns: StandardisedColumns, conditioning: Conditioning, row_weights: FloatArray
    ) -> None:
        """Keep what `partial_fit` has to know of these rows."""
        some = slice(None, None, max(columns.n // _CURVATURE_ROWS, 1))
        weights = row_weights[some]
        some, weights = (some, weights / weights.sum()) if weights.any() else (slice(None), row_weights)
        correlation = conditioning.correlation if columns.q <= MOST_CORRELATED else None
        self._past = vars(
            Metric(columns.mean, columns.deviation, correlation, curvature_of(self._softmax(X[some]), weights))
        )

    def _centre(self, X: Any, row_weights: FloatArray, warm: SoftmaxGate | None) -> None:
        if sparse.issparse(X):
            raise ValueError("degree=2 takes no sparse columns; give a dense array or degree=1.")
        mean, deviation = (warm.centre_, warm.spread_) if warm else column_moments(X, row_weights)
        self.centre_, self.spread_ = mean, np.where(deviation > 0, deviation, 1.0)

    def _terms(self, X: Any) -> Any:
        """Columns (n, q) as they are, or of degree 2 standardised, with squares and products."""
        if not is_whole(self.degree) or self.degree > 2:
            raise ValueError(f"degree={self.degree!r} is unknown; give 1, or 2 for squares and products.")
        if self.degree == 1:
            return X
        Z = (X - self.centre_) / self.spread_
        first, second = np.triu_indices(Z.shape[1])
        return np.hstack([Z, Z[:, first] * Z[:, second]])

    def _set(self, coef: FloatArray, intercept: FloatArray, n_iter: int) -> None:
        self.coef_, self.intercept_, self.n_iter_ = coef, intercept, n_iter
        self.n_experts_ = len(intercept)
        self.separates_ = False

    def _penalty(self) -> float:
        return 0.01 if self.penalty == "path" else check_penalty(self.penalty)

    def _check(self, X: Any, *, reset: bool) -> Any:
        """X as a numeric array or CSR matrix, untouched where it is one already."""
        return validate_data(self, X, accept_sparse="csr", reset=reset, ensure_min_features=0)

    def _copy_columns(self, other: Self) -> None:
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(other, name):
                setattr(self, name, getattr(other, name))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _relevance(slopes: FloatArray) -> FloatArray:
    """Size (q,) of the slopes (q, K) of each column, in sizes of the largest; never zero, so that none is lost."""
    size = np.linalg.norm(slopes, axis=1)
    return np.maximum(size / size.max(), _LEAST_RELEVANCE)


def _separated(columns: StandardisedColumns, found: Coefficients, row_weights: FloatArray) -> bool:
    """Whether every row belongs to one expert, and not all to the same."""
    leading: set[int] = set()
    for rows in row_blocks(columns.n):
        weights = softmax(columns.logits(found.slopes, found.intercept, rows))[0][row_weights[rows] > 0]
        if (weights.max(axis=1) < _SEPARATED).any():
            return False
        leading |= set(weights.argmax(axis=1).tolist())
    return len(leading) > 1


def check_penalty(penalty: Any) -> float:
    """A penalty as a float that is not negative.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> check_penalty(1)
    1.0
    """
    if isinstance(penalty, bool) or not isinstance(penalty, int | float | np.number) or not penalty >= 0:
        raise ValueError(f"penalty={penalty!r} is not a number from 0 to infinity, nor 'path'.")
    return float(penalty)


def constant_weights(target: Objective | FloatArray, start: ArrayLike | None, row_weights: FloatArray) -> FloatArray:
    """The best weights (K,) that ignore x: of responsibilities their mean, of an objective its minimum.

    Examples
    --------
    >>> import numpy as np
    >>> constant_weights(np.array([[1.0, 0.0], [0.5, 0.5]]), None, np.array([0.5, 0.5]))
    array([0.75, 0.25])
    """
    if not callable(target):
        return mean_responsibilities(target, row_weights)
    begin = None if start is None else np.asarray(start, dtype=np.float64)
    K = count_experts(target, len(row_weights)) if begin is None else len(begin)
    return simplex_weights(K, target, row_weights, begin)
