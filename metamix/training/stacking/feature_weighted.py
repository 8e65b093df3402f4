"""Feature-weighted linear stacking: weights that depend on x, as far as held-out rows allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import nnls

from metamix.derivatives import spread_gradient
from metamix.training.stacking.base import BoundedStack, StackData

__all__ = ["FeatureWeightedStack"]

Array = NDArray[np.float64]

#: Penalties on everything that bends; an infinite one, which is ordinary linear stacking, follows them.
ALPHAS = tuple(np.logspace(-3, 4, 15))
#: Rows of which a design matrix is made at a time.
BLOCK = 10_000
#: Differences between experts below so many standard deviations of y are rounding.
ROUNDING = 1e-6
#: Columns of x are cut off at so many standard deviations before they are rotated.
WIDEST = 5.0


def _blocks(data: StackData) -> Iterator[StackData]:
    for begin in range(0, len(data.predictions), BLOCK):
        yield data.take(slice(begin, begin + BLOCK))


def _moments(columns: Array, share: Array) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of columns."""
    mean = share @ columns
    return mean, np.sqrt(share @ np.square(columns - mean))


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
                x = np.clip((features - self.centre) / self.scale, -WIDEST, WIDEST)
                self.rotation = eigh(x.T @ (share[:, None] * x))[1][:, ::-1][:, :most]
        raw = self._raw(predictions, features)
        self.mean, spread = _moments(raw, share)
        self.spread = np.where(spread > ROUNDING * np.abs(raw).max(axis=0, initial=1), spread, np.inf)
        self.curved = np.array([len(np.unique(column)) > 2 for column in raw.T])

    def _raw(self, predictions: Array, features: Array | None) -> Array:
        x = np.empty((len(predictions), 0))
        if features is not None and features.shape[1]:
            x = np.clip((features - self.centre) / self.scale, -WIDEST, WIDEST)
            x = x if self.rotation is None else x @ self.rotation
        return np.column_stack([x, predictions.mean(axis=1), predictions.std(axis=1)])

    def __call__(self, predictions: Array, features: Array | None) -> Array:
        columns = np.clip((self._raw(predictions, features) - self.mean) / self.spread, -self.clip, self.clip)
        return np.column_stack([columns, 0.5 * (columns[:, self.curved] ** 2 - 1)])

    def gradient(self, predictions: Array, features: Array | None, slopes: Array, jacobian: Any) -> Array:
        """Gradient (n, M, d) of the columns, given that of predictions (n, K, d) and of features (n, q, d)."""
        parts = [slopes.mean(axis=1, keepdims=True), spread_gradient(predictions, slopes)[:, None, :]]
        if features is not None and features.shape[1]:
            inside = (np.abs(features - self.centre) < WIDEST * self.scale) / self.scale
            x = inside[:, :, None] * jacobian
            parts.insert(0, x if self.rotation is None else self.rotation.T @ x)
        raw = (self._raw(predictions, features) - self.mean) / self.spread
        own = ((np.abs(raw) < self.clip) / self.spread)[:, :, None] * np.concatenate(parts, axis=1)
        return np.concatenate([own, (raw[:, :, None] * own)[:, self.curved]], axis=1)


class _WeightsModel:
    """The ridge regressions of one path, fitted to some rows.

    Around the best convex blend a(x), the prediction is a ridge regression on a, on the experts' deviations c_k from
    a, on modulators m_j and on the products m_j c_k and m_j a.
    """

    def __init__(self, data: StackData, alphas: Sequence[float], most: int, clip: float, free: float) -> None:
        self.free = free
        share = data.weight / data.weight.sum()
        self.centre = float(share @ data.y)
        self.unit = float(np.sqrt(share @ (data.y - self.centre) ** 2)) or 1.0
        self._anchor(data.predictions, data.y, share)
        scaled = (data.predictions - self.centre) / self.unit
        self.modulators = _Modulators(scaled, data.features, share, most, clip)
        self.slopes, self.level = self._path(self._gram(data), data.predictions.shape[1] + 1, alphas)

    def __call__(self, data: StackData) -> Array:
        """Predictions (n, A) for every penalty."""
        parts = [self._design(block)[:, 1:] @ self.slopes + self.level for block in _blocks(data)]
        return self.centre + self.unit * np.concatenate(parts or [np.empty((0, len(self.level)))])

    def gradient(self, predictions: Array, features: Array | None, slopes: Array, jacobian: Array | None) -> Array:
        """Gradient (n, d) for the first penalty, given those of predictions (n, K, d) and of features (n, q, d)."""
        own = self.slopes[:, 0]
        K, M = predictions.shape[1], (len(own) - predictions.shape[1] - 1) // (predictions.shape[1] + 2)
        plain, products, bent, level = np.split(own, np.cumsum([K + 1, M * K, M]))
        blend = predictions @ self.blend
        away = (predictions - blend[:, None]) / self.deviation
        blend = (blend - self.blend_mean) / self.blend_scale
        inner = (predictions - self.centre) / self.unit
        modulators = self.modulators(inner, features)
        bend = self.modulators.gradient(inner, features, slopes / self.unit, jacobian)
        blend_slope = np.einsum("k,nkd->nd", self.blend, slopes)
        away_slope = (slopes - blend_slope[:, None, :]) / self.deviation
        each, loud = products.reshape(M, K), self.free**-0.5
        total = (loud * plain[0] + modulators @ bent)[:, None] * blend_slope / self.blend_scale
        total += np.einsum("nk,nkd->nd", loud * plain[1:] + modulators @ each, away_slope)
        total += np.einsum("nm,nmd->nd", away @ each.T + np.outer(blend, bent) + level, bend)
        return np.asarray(self.unit * total)

    def _anchor(self, predictions: Array, y: Array, share: Array) -> None:
        """The blend that deviations are measured from, and the units of both."""
        scaled = (predictions - self.centre) / self.unit
        root = np.sqrt(share)
        weights = nnls(root[:, None] * scaled, root * (y - self.centre) / self.unit)[0]
        K = predictions.shape[1]
        self.blend = weights / weights.sum() if weights.sum() > 1e-9 else np.full(K, 1 / K)
        blend = predictions @ self.blend
        self.blend_mean = float(share @ blend)
        self.blend_scale = float(np.sqrt(share @ (blend - self.blend_mean) ** 2)) or 1.0
        deviation = float(np.sqrt((share @ (predictions - blend[:, None]) ** 2).mean()))
        self.deviation = deviation if deviation > ROUNDING * self.unit else np.inf

    def _design(self, data: StackData) -> Array:
        blend = data.predictions @ self.blend
        away = (data.predictions - blend[:, None]) / self.deviation
        blend = ((blend - self.blend_mean) / self.blend_scale)[:, None]
        modulators = self.modulators((data.predictions - self.centre) / self.unit, data.features)
        loud = self.free**-0.5
        products = (modulators[:, :, None] * away[:, None, :]).reshape(len(blend), -1)
        return np.column_stack(
            [np.ones(len(blend)), loud * blend, loud * away, products, modulators * blend, modulators]
        )

    def _gram(self, data: StackData) -> Array:
        """Weighted cross-products of the design with itself and with y, summed over blocks of rows."""
        total: Any = 0.0
        for block in _blocks(data):
            design, truth = self._design(block), (block.y - self.centre) / self.unit
            total = total + (design * block.weight[:, None]).T @ np.column_stack([design, truth])
        return np.asarray(total)

    def _path(self, gram: Array, K: int, alphas: Sequence[float]) -> tuple[Array, Array]:
        """Slopes (p, A) and levels (A,) of ridge regressions, one for each penalty."""
        n = gram[0, 0]
        mean, level = gram[0, 1:-1] / n, gram[0, -1] / n
        inner = gram[1:, 1:-1] / n - np.outer(mean, mean)
        outer = gram[1:, -1] / n - mean * level
        finite = np.array([alpha for alpha in alphas if np.isfinite(alpha)])
        slopes = np.zeros((len(outer), len(alphas)))
        if len(finite) == 1:
            slopes[:, 0] = np.linalg.solve(inner + finite[0] * np.eye(len(outer)), outer)
        elif len(finite):
            values, vectors = eigh(inner)
            moments = (vectors.T @ outer)[:, None]
            slopes[:, : len(finite)] = vectors @ (moments / (np.maximum(values, 0)[:, None] + finite))
        if len(finite) < len(alphas):
            slopes[:K, -1] = np.linalg.solve(inner[:K, :K] + 1e-6 / self.free * np.eye(K), outer[:K])
        return slopes, level - mean @ slopes


class FeatureWeightedStack(BoundedStack):
    """Linear stacking whose weights may bend with x, as far as held-out rows allow.

    Around the best convex blend a(x), the prediction is a ridge regression on a, on the experts' deviations c_k from
    a, on modulators m_j (columns of x, mean and spread of the predictions, their squares) and on the products m_j c_k
    and m_j a. The effects of a and c are free; everything else is penalised, along a path of penalties that ends in
    infinity, which is ordinary linear stacking. The penalty with the smallest out-of-fold error is taken.

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
    oof_, inside_, margin_
        As of `BoundedStack`.
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

    @property
    def alpha_(self) -> float:
        """The penalty taken."""
        return float(self._choice)

    def _choose(self, pairs: Sequence[tuple[StackData, StackData]]) -> tuple[float, list[float]]:
        """The penalty with the smallest loss; for the rows of each pair that with the smallest loss in the others."""
        alphas = (*ALPHAS, np.inf)
        losses = np.zeros((len(pairs), len(alphas)))
        for p, (fitted, judged) in enumerate(pairs):
            if len(fitted.y) and len(judged.y):
                found = self._path(fitted, alphas)(judged)
                losses[p] = judged.weight @ np.square(found - judged.y[:, None])

        def smallest(loss: Array) -> float:
            return float(alphas[int(loss.argmin())]) if loss.any() else np.inf  # unjudged: the plain stack

        total = losses.sum(axis=0)
        best = smallest(total)
        return best, [smallest(total - own) if len(pairs) > 1 else best for own in losses]

    def _path(self, data: StackData, alphas: Sequence[float]) -> _WeightsModel:
        return _WeightsModel(data, alphas, self.most_columns, self.clip, self.free)

    def _model(self, data: StackData, choice: Any) -> _WeightsModel | None:
        return self._path(data, [choice]) if len(data.y) else None

    def _answer(self, model: Any, data: StackData) -> Array:
        return np.asarray(model(data)[:, 0])

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        return np.asarray(self.model_.gradient(predictions, features, slopes, features_jacobian))
