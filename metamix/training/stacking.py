"""Final estimators: predictions of the experts in, one prediction out, and that one out of fold too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.derivatives import gradient as model_gradient
from metamix.derivatives import spread_gradient
from metamix.fitting import NamedExpert, Problem, fit_expert

__all__ = ["EstimatorStack", "FeatureWeightedStack", "LinearStack", "LogOpinionPool"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Pairs = Sequence[tuple[Rows, Rows]]

#: A stack has some hundred coefficients: more rows than this do not change them.
MOST_ROWS = 100_000
#: Rows of which a design matrix is made at a time.
BLOCK = 10_000
#: Differences between experts below so many standard deviations of y are rounding.
NOISE = 1e-6
#: Predictions lie outside the range of the experts' by no more than out-of-fold predictions did, but for this share.
OUTLIERS = 0.01
#: Penalties of linear stacks, those of `sklearn.linear_model.RidgeCV`.
ALPHAS = (0.1, 1.0, 10.0)


def _drawn(rows: Rows) -> Rows:
    """At most `MOST_ROWS` of them, the same ones every time."""
    if len(rows) <= MOST_ROWS:
        return rows
    return np.asarray(rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False))])


def _blocks(rows: Rows) -> Iterator[Rows]:
    for begin in range(0, len(rows), BLOCK):
        yield rows[begin : begin + BLOCK]


def _moments(columns: Array, share: Array) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of columns."""
    mean = share @ columns
    return mean, np.sqrt(share @ np.square(columns - mean))


def _copies(weight: Array) -> Array:
    """Positive weights as numbers of copies of each row; scaled to mean 1 where their mean is smaller."""
    return np.asarray(weight / min(1.0, float(weight.mean())))


def _quantile(values: Array, q: float, copies: Array) -> float:
    """Quantile, as `numpy.quantile` has it where each value is repeated."""
    order = np.argsort(values)
    total = np.cumsum(copies[order])
    position = q * (total[-1] - 1)
    below = np.floor(position)
    low, high = values[order][np.minimum(np.searchsorted(total, [below, below + 1], side="right"), len(values) - 1)]
    return float(low + (position - below) * (high - low))


class Stack(BaseEstimator, ABC):
    """A final estimator for numbers, whose predictions stay near those of the experts; abstract.

    A linear combination with free signs may be far from every expert where experts disagree as they never did before.
    Predictions are therefore bounded by the smallest and the largest of the experts' in each row, widened by
    `margin_`, which is learned out of fold.

    Attributes
    ----------
    oof_ : ndarray of shape (n,)
        Out-of-fold predictions; NaN for rows that no pair judges.
    margin_ : float
        In the units of y.
    """

    oof_: Array
    margin_: float

    def fit(
        self,
        predictions: Array,
        y: Array,
        pairs: Pairs,
        *,
        rows: Rows | None = None,
        sample_weight: Array | None = None,
        features: Array | None = None,
    ) -> Self:
        """Fit to predictions (n, K), y (n,), weights (n,) and features (n, q).

        `pairs` are (rows to fit, rows to judge); the final fit takes `rows`, by default all that are judged.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = np.sort(np.concatenate([test for _, test in pairs])) if rows is None else rows
        self._fit(predictions, y, pairs, _drawn(rows[weight[rows] > 0]), weight, features)
        known = np.flatnonzero(np.isfinite(self.oof_))
        judged = known[weight[known] > 0]
        low, high = predictions[judged].min(axis=1), predictions[judged].max(axis=1)
        outside = np.maximum(np.maximum(low - self.oof_[judged], self.oof_[judged] - high), 0.0)
        self.margin_ = _quantile(outside, 1 - OUTLIERS, _copies(weight[judged])) if len(judged) else 0.0
        self.oof_[known] = self._bounded(self.oof_[known], predictions[known])
        return self

    def predict(self, predictions: Array, features: Array | None = None) -> Array:
        """Predictions (n,) from those of the experts (n, K) and features (n, q)."""
        check_is_fitted(self)
        return self._bounded(self._unbounded(predictions, features), predictions)

    def predict_gradient(
        self,
        predictions: Array,
        features: Array | None,
        predictions_gradient: Array,
        features_jacobian: Array | None,
    ) -> Array:
        """Gradient (n, d) of the predictions in x.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        features : ndarray of shape (n, q) or None
        predictions_gradient : ndarray of shape (n, K, d)
            Gradients of the experts' predictions.
        features_jacobian : ndarray of shape (n, q, d) or None
            Gradients of the features.
        """
        check_is_fitted(self)
        raw = self._unbounded(predictions, features)
        gradient = self._gradient(predictions, features, predictions_gradient, features_jacobian)
        rows = np.arange(len(raw))
        for outside, expert in (
            (raw < predictions.min(axis=1) - self.margin_, predictions.argmin(axis=1)),
            (raw > predictions.max(axis=1) + self.margin_, predictions.argmax(axis=1)),
        ):
            gradient = np.where(outside[:, None], predictions_gradient[rows, expert], gradient)
        return gradient

    def _bounded(self, values: Array, predictions: Array) -> Array:
        return np.clip(values, predictions.min(axis=1) - self.margin_, predictions.max(axis=1) + self.margin_)

    @abstractmethod
    def _fit(
        self, predictions: Array, y: Array, pairs: Pairs, rows: Rows, weight: Array, features: Array | None
    ) -> None:
        """Fit to rows that all have weight, and set `oof_`."""

    @abstractmethod
    def _unbounded(self, predictions: Array, features: Array | None) -> Array:
        """Predictions (n,) before they are bounded."""

    @abstractmethod
    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        """Gradient (n, d) of `_unbounded`."""


class LinearStack(Stack):
    """Linear stacking: a ridge regression on the experts' predictions, as `StackingRegressor` has it by default.

    Predictions and y are measured in standard deviations of y, so that the penalty does not depend on its unit. The
    penalty has the smallest leave-one-out error, as in `RidgeCV`; a row of weight 2 is two rows, of which one is left
    out.

    Attributes
    ----------
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

    coef_: Array
    intercept_: float

    def _fit(
        self, predictions: Array, y: Array, pairs: Pairs, rows: Rows, weight: Array, features: Array | None
    ) -> None:
        self.oof_ = np.full(len(y), np.nan)
        for learn, test in pairs:
            learn = _drawn(learn[weight[learn] > 0])
            if len(learn) > 1:
                coef, intercept = self._ridge(predictions[learn], y[learn], weight[learn])
                self.oof_[test] = predictions[test] @ coef + intercept
        self.coef_, self.intercept_ = self._ridge(predictions[rows], y[rows], weight[rows])

    def _ridge(self, predictions: Array, y: Array, weight: Array) -> tuple[Array, float]:
        share = weight / weight.sum()
        centre = float(share @ y)
        unit = float(np.sqrt(share @ (y - centre) ** 2)) or 1.0
        predictions, y, copies = (predictions - centre) / unit, (y - centre) / unit, _copies(weight)
        mean = share @ predictions
        values, vectors = eigh((predictions - mean).T @ (copies[:, None] * (predictions - mean)))
        rotated = (predictions - mean) @ vectors
        moments = rotated.T @ (copies * y)
        best, coef = np.inf, np.zeros(len(mean))
        for alpha in ALPHAS:
            found = moments / (np.maximum(values, 0) + alpha)
            leverage = 1 / copies.sum() + np.square(rotated) @ (1 / (np.maximum(values, 0) + alpha))
            left_out = (y - rotated @ found) / np.maximum(1 - np.minimum(copies, 1) * leverage, NOISE)
            loss = float(copies @ np.square(left_out))
            if loss < best:
                best, coef = loss, vectors @ found
        return coef, centre * (1 - float(coef.sum())) - unit * float(mean @ coef)

    def _unbounded(self, predictions: Array, features: Array | None) -> Array:
        return np.asarray(predictions @ self.coef_ + self.intercept_)

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        return np.einsum("k,nkd->nd", self.coef_, slopes)


class _Modulators:
    """Columns that the weights of a stack may depend on: x, mean and spread of the answers, and squares.

    x is standardised and, where it is wide, rotated to its leading principal components; everything is
    clipped at two standard deviations, so that a stack never runs away far from its training rows.
    """

    def __init__(self, predictions: Array, features: Array | None, share: Array, most: int, clip: float) -> None:
        self.clip, self.rotation = clip, None
        if features is not None and features.shape[1]:
            self.centre, scale = _moments(features, share)
            varies = scale > 1e-9 * np.abs(features).max(axis=0, initial=0)
            self.scale = np.where(varies, scale, np.inf)
            if features.shape[1] > most:
                x = np.clip((features - self.centre) / self.scale, -5, 5)
                self.rotation = eigh(x.T @ (share[:, None] * x))[1][:, ::-1][:, :most]
        raw = self._raw(predictions, features)
        self.mean, spread = _moments(raw, share)
        self.spread = np.where(spread > NOISE * np.abs(raw).max(axis=0, initial=1), spread, np.inf)
        self.curved = np.array([len(np.unique(column)) > 2 for column in raw.T])

    def _raw(self, predictions: Array, features: Array | None) -> Array:
        x = np.empty((len(predictions), 0))
        if features is not None and features.shape[1]:
            x = np.clip((features - self.centre) / self.scale, -5, 5)
            x = x if self.rotation is None else x @ self.rotation
        return np.column_stack([x, predictions.mean(axis=1), predictions.std(axis=1)])

    def __call__(self, predictions: Array, features: Array | None) -> Array:
        columns = np.clip((self._raw(predictions, features) - self.mean) / self.spread, -self.clip, self.clip)
        return np.column_stack([columns, 0.5 * (columns[:, self.curved] ** 2 - 1)])

    def gradient(self, predictions: Array, features: Array | None, slopes: Array, jacobian: Any) -> Array:
        """Gradient (n, M, d) of the columns, given that of predictions (n, K, d) and of features (n, q, d)."""
        parts = [slopes.mean(axis=1, keepdims=True), spread_gradient(predictions, slopes)[:, None, :]]
        if features is not None and features.shape[1]:
            inside = (np.abs(features - self.centre) < 5 * self.scale) / self.scale
            x = inside[:, :, None] * jacobian
            parts.insert(0, x if self.rotation is None else self.rotation.T @ x)
        raw = (self._raw(predictions, features) - self.mean) / self.spread
        own = ((np.abs(raw) < self.clip) / self.spread)[:, :, None] * np.concatenate(parts, axis=1)
        return np.concatenate([own, (raw[:, :, None] * own)[:, self.curved]], axis=1)


class FeatureWeightedStack(Stack):
    """Linear stacking whose weights may bend with x, as far as held-out rows allow.

    Around the best convex blend a(x), the answer is a ridge regression on a, on the experts' deviations
    c_k from a, on modulators m_j (columns of x, mean and spread of the answers, their squares) and on the
    products m_j c_k and m_j a. The effects of a and c are free; everything else is penalised, along a
    path of penalties that ends in infinity, which is ordinary linear stacking. The penalty with the
    smallest out-of-fold error is taken.

    Parameters
    ----------
    most_columns : int, default 20
        Wider x is rotated to so many principal components.
    clip : float, default 2.0
        Modulators are cut off at so many standard deviations.
    free : float, default 1e-4
        Penalty on the effects of a and c, relative to that on the others.

    Attributes
    ----------
    oof_ : ndarray of shape (n,)
        Its own answers, out of fold; NaN for rows that no pair judges.
    alpha_ : float
        The penalty taken.

    References
    ----------
    Breiman (1996), Stacked regressions; Sill, Takács, Mackey & Lin (2009), Feature-weighted linear stacking.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=60)
    >>> answers = y[:, None] / 2 + rng.normal(scale=0.01, size=(60, 2))
    >>> halves = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    >>> stack = FeatureWeightedStack().fit(answers, y, halves)
    >>> bool(np.median(np.abs(stack.predict(answers) - y)) < 0.02)
    True
    """

    def __init__(self, most_columns: int = 20, clip: float = 2.0, free: float = 1e-4) -> None:
        self.most_columns = most_columns
        self.clip = clip
        self.free = free

    def _fit(
        self, predictions: Array, y: Array, pairs: Pairs, rows: Rows, weight: Array, features: Array | None
    ) -> None:
        share = weight[rows] / weight[rows].sum()
        self.centre_ = float(share @ y[rows])
        self.unit_ = float(np.sqrt(share @ (y[rows] - self.centre_) ** 2)) or 1.0
        self._anchor(predictions[rows], y[rows], share)
        dense = None if features is None else features[rows]
        self.modulators_ = _Modulators(
            (predictions[rows] - self.centre_) / self.unit_, dense, share, self.most_columns, self.clip
        )
        chosen = np.zeros(len(y), dtype=bool)
        chosen[rows] = True
        everything = self._gram(predictions, y, weight, features, rows)
        K = predictions.shape[1] + 1
        alphas = np.logspace(-3, 4, 15)
        losses, oof = np.zeros(len(alphas) + 1), np.full((len(y), len(alphas) + 1), np.nan)
        for learn, test in pairs:
            left_out = chosen.copy()
            left_out[learn] = False
            gram = everything - self._gram(predictions, y, weight, features, np.flatnonzero(left_out))
            if gram[0, 0] <= 0:
                continue
            slopes, level = self._path(gram, K, alphas)
            for block in _blocks(test):
                some = None if features is None else features[block]
                oof[block] = self._design(predictions[block], some)[:, 1:] @ slopes + level
                truth = (y[block] - self.centre_) / self.unit_
                losses += weight[block] @ (oof[block] - truth[:, None]) ** 2
        best = int(losses.argmin()) if losses.any() else len(alphas)  # unjudged: the plain stack
        self.alpha_ = float([*alphas, np.inf][best])
        slopes, level = self._path(everything, K, alphas)
        self.slopes_, self.level_ = slopes[:, best], float(level[best])
        self.oof_ = self.centre_ + self.unit_ * oof[:, best]

    def _unbounded(self, predictions: Array, features: Array | None) -> Array:
        answers = np.empty(len(predictions))
        for block in _blocks(np.arange(len(predictions))):
            some = None if features is None else features[block]
            design = self._design(predictions[block], some)[:, 1:]
            answers[block] = self.centre_ + self.unit_ * (design @ self.slopes_ + self.level_)
        return answers

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        K, M = predictions.shape[1], (len(self.slopes_) - predictions.shape[1] - 1) // (predictions.shape[1] + 2)
        plain, products, bent, level = np.split(self.slopes_, np.cumsum([K + 1, M * K, M]))
        blend = predictions @ self.blend_
        away = (predictions - blend[:, None]) / self.deviation_
        blend = (blend - self.blend_mean_) / self.blend_scale_
        inner = (predictions - self.centre_) / self.unit_
        modulators = self.modulators_(inner, features)
        bend = self.modulators_.gradient(inner, features, slopes / self.unit_, features_jacobian)
        blend_slope = np.einsum("k,nkd->nd", self.blend_, slopes)
        away_slope = (slopes - blend_slope[:, None, :]) / self.deviation_
        each, loud = products.reshape(M, K), self.free**-0.5
        total = (loud * plain[0] + modulators @ bent)[:, None] * blend_slope / self.blend_scale_
        total += np.einsum("nk,nkd->nd", loud * plain[1:] + modulators @ each, away_slope)
        total += np.einsum("nm,nmd->nd", away @ each.T + np.outer(blend, bent) + level, bend)
        return np.asarray(self.unit_ * total)

    def _anchor(self, predictions: Array, y: Array, share: Array) -> None:
        """The blend that deviations are measured from, and the units of both."""
        scaled = (predictions - self.centre_) / self.unit_
        root = np.sqrt(share)
        weights = nnls(root[:, None] * scaled, root * (y - self.centre_) / self.unit_)[0]
        K = predictions.shape[1]
        self.blend_ = weights / weights.sum() if weights.sum() > 1e-9 else np.full(K, 1 / K)
        blend = predictions @ self.blend_
        self.blend_mean_ = float(share @ blend)
        self.blend_scale_ = float(np.sqrt(share @ (blend - self.blend_mean_) ** 2)) or 1.0
        deviation = float(np.sqrt((share @ (predictions - blend[:, None]) ** 2).mean()))
        self.deviation_ = deviation if deviation > NOISE * self.unit_ else np.inf

    def _design(self, predictions: Array, features: Array | None) -> Array:
        blend = predictions @ self.blend_
        away = (predictions - blend[:, None]) / self.deviation_
        blend = ((blend - self.blend_mean_) / self.blend_scale_)[:, None]
        modulators = self.modulators_((predictions - self.centre_) / self.unit_, features)
        loud = self.free**-0.5
        products = (modulators[:, :, None] * away[:, None, :]).reshape(len(blend), -1)
        return np.column_stack(
            [np.ones(len(blend)), loud * blend, loud * away, products, modulators * blend, modulators]
        )

    def _gram(self, predictions: Array, y: Array, weight: Array, features: Array | None, rows: Rows) -> Array:
        """Weighted cross-products of the design with itself and with y, summed over blocks of rows."""
        total: Any = 0.0
        for block in _blocks(rows):
            design = self._design(predictions[block], None if features is None else features[block])
            truth = (y[block] - self.centre_) / self.unit_
            total = total + (design * weight[block, None]).T @ np.column_stack([design, truth])
        if len(rows):
            return np.asarray(total)
        size = self._design(predictions[:1], None if features is None else features[:1]).shape[1]
        return np.zeros((size, size + 1))

    def _path(self, gram: Array, K: int, alphas: Array) -> tuple[Array, Array]:
        """Slopes (p, A + 1) and levels (A + 1,) of ridge regressions, the last one with infinite penalty."""
        n = gram[0, 0]
        mean, level = gram[0, 1:-1] / n, gram[0, -1] / n
        inner = gram[1:, 1:-1] / n - np.outer(mean, mean)
        outer = gram[1:, -1] / n - mean * level
        values, vectors = eigh(inner)
        slopes = vectors @ ((vectors.T @ outer)[:, None] / (np.maximum(values, 0)[:, None] + alphas))
        plain = np.zeros(len(outer))
        plain[:K] = np.linalg.solve(inner[:K, :K] + 1e-6 / self.free * np.eye(K), outer[:K])
        slopes = np.column_stack([slopes, plain])
        return slopes, level - mean @ slopes


class LogOpinionPool(BaseEstimator):
    """Product of the experts' probabilities to learned powers, times a factor for each class.

    log p_c ∝ Σ_k β_k log p_kc + b_c: one power for each expert, whatever the class, so that K + C numbers
    are learned, not K·C², by penalised maximum likelihood. The penalty pulls β towards 1/K.

    Parameters
    ----------
    penalty : float, default 1e-3
        On the powers, in units of the mean log-loss.
    eps : float, default 1e-3
        Probabilities are clipped to at least this before the logarithm.

    Attributes
    ----------
    oof_ : ndarray of shape (n, C)
        Its own answers, out of fold; NaN for rows that no pair judges.
    powers_ : ndarray of shape (K,)
    bias_ : ndarray of shape (C,)

    References
    ----------
    Genest & Zidek (1986), Combining probability distributions; Hinton (2002) on products of experts.

    Examples
    --------
    >>> answers = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]], [[0.1, 0.9]]])
    >>> pairs = [(np.arange(4), np.arange(4))]
    >>> LogOpinionPool().fit(answers, np.array([0, 1, 0, 1]), pairs).predict(answers).argmax(axis=1)
    array([0, 1, 0, 1])
    """

    def __init__(self, penalty: float = 1e-3, eps: float = 1e-3) -> None:
        self.penalty = penalty
        self.eps = eps

    def fit(
        self,
        predictions: Array,
        y: NDArray[np.intp],
        pairs: Pairs,
        *,
        rows: Rows | None = None,
        sample_weight: Array | None = None,
        features: Array | None = None,
    ) -> Self:
        """Learn from predictions (n, K, C), codes y (n,) and weights (n,); features are not looked at.

        `pairs` and `rows` as for `FeatureWeightedStack`.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = np.sort(np.concatenate([test for _, test in pairs])) if rows is None else rows
        K, C = predictions.shape[1:]
        start = np.concatenate([np.full(K, 1 / K), np.zeros(C)])
        found = self._descend(predictions, y, weight, _drawn(rows), start)
        self.oof_ = np.full((len(y), C), np.nan)
        for learn, test in pairs:
            self._set(self._descend(predictions, y, weight, _drawn(learn), found), K)
            self.oof_[test] = self.predict(predictions[test])
        return self._set(found, K)

    def predict(self, predictions: Array, features: Array | None = None) -> Array:
        """Probabilities (n, C) from predictions (n, K, C)."""
        check_is_fitted(self, "powers_")
        return np.asarray(softmax(np.einsum("nkc,k->nc", self._logs(predictions), self.powers_) + self.bias_, axis=1))

    def _set(self, found: Array, K: int) -> Self:
        self.powers_, self.bias_ = found[:K], found[K:]
        return self

    def _logs(self, predictions: Array) -> Array:
        clipped = np.maximum(predictions, self.eps)
        return np.asarray(np.log(clipped / clipped.sum(axis=2, keepdims=True)))

    def _descend(self, predictions: Array, y: Any, weight: Array, rows: Rows, start: Array) -> Array:
        logs, labels = self._logs(predictions[rows]), y[rows]
        K, C = logs.shape[1:]
        share = weight[rows] / weight[rows].sum()
        hit = np.zeros((len(rows), C))
        hit[np.arange(len(rows)), labels] = 1
        pull = np.concatenate([np.full(K, self.penalty), np.full(C, 1e-4)])
        anchor = np.concatenate([np.full(K, 1 / K), np.zeros(C)])

        def loss(point: Array) -> tuple[float, Array]:
            scores = log_softmax(np.einsum("nkc,k->nc", logs, point[:K]) + point[K:], axis=1)
            error = share[:, None] * (np.exp(scores) - hit)
            gradient = np.concatenate([np.einsum("nc,nkc->k", error, logs), error.sum(axis=0)])
            away = point - anchor
            value = -share @ scores[np.arange(len(rows)), labels] + 0.5 * pull @ away**2
            return float(value), gradient + pull * away

        return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-6}).x)


class EstimatorStack(Stack):
    """Any estimator as the second level, on the experts' predictions as columns.

    Of classes the columns are probabilities, without the first class where there are two, as in `StackingClassifier`.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned, never changed.

    Attributes
    ----------
    fitted_ : FittedExpert
    oof_ : ndarray of shape (n,) or (n, C)

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> y = np.arange(8.0)
    >>> halves = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    >>> stack = EstimatorStack(LinearRegression()).fit(np.column_stack([y, -y]), y, halves)
    >>> stack.predict(np.array([[2.5, -2.5]])).round(6)
    array([2.5])
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(
        self,
        predictions: Array,
        y: NDArray[Any],
        pairs: Pairs,
        *,
        rows: Rows | None = None,
        sample_weight: Array | None = None,
        features: Array | None = None,
    ) -> Self:
        """Fit to predictions (n, K) or (n, K, C); arguments as for the other stacks."""
        if predictions.ndim == 2:
            return super().fit(predictions, y, pairs, rows=rows, sample_weight=sample_weight, features=features)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = np.sort(np.concatenate([test for _, test in pairs])) if rows is None else rows
        self._fit(predictions, y, pairs, rows[weight[rows] > 0], weight, features)
        return self

    def predict(self, predictions: Array, features: Array | None = None) -> Array:
        """Predictions (n,), or probabilities (n, C), from those of the experts."""
        check_is_fitted(self)
        return super().predict(predictions) if predictions.ndim == 2 else self._unbounded(predictions, features)

    def _fit(
        self, predictions: Array, y: NDArray[Any], pairs: Pairs, rows: Rows, weight: Array, features: Array | None
    ) -> None:
        self.n_classes_ = predictions.shape[2] if predictions.ndim == 3 else None
        self.oof_ = np.full(len(y) if self.n_classes_ is None else (len(y), self.n_classes_), np.nan)
        problem = Problem(_as_columns(predictions), y, weight, n_classes=self.n_classes_)
        expert = NamedExpert("final_estimator", self.estimator)
        for learn, test in [*pairs, (rows, None)]:
            self.fitted_ = fit_expert(expert, problem, learn, None)
            if test is not None:
                self.oof_[test] = self.fitted_.predict(problem.X[test])

    def _unbounded(self, predictions: Array, features: Array | None) -> Array:
        return self.fitted_.predict(_as_columns(predictions))

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        inside = model_gradient(self.fitted_.model, predictions)
        return np.einsum("nk,nkd->nd", inside, slopes)


def _as_columns(predictions: Array) -> Array:
    """Columns (n, p) of predictions (n, K), or of probabilities (n, K, C)."""
    if predictions.ndim == 2:
        return predictions
    first = 1 if predictions.shape[2] == 2 else 0
    return np.asarray(predictions[:, :, first:].reshape(len(predictions), -1))
