"""From fitted columns and weights to predictions: each expert is asked only about the rows where it has weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.gate_features import GateFeatures
from metamix.data.tables import n_rows, take_rows
from metamix.derivatives import NoGradientError, gate_gradient, gradient, mixture_gradient, top_gradient
from metamix.distributions import cdf, central_levels, check_levels, quantile, quantile_by_row, sample
from metamix.recombination import both_classes, combine, keep_top, posterior, spread, variance_parts
from metamix.training.recalibration import Calibration, Moments, calibrated_moments

__all__ = ["Combination", "GateRows", "TargetPrediction", "admissible"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def admissible(likelihood: Any, predictions: Array) -> Array:
    """Predictions as means that the likelihood can have: for counts none is negative.

    Examples
    --------
    >>> from metamix.likelihoods import Gaussian, Poisson
    >>> admissible(Gaussian(), np.array([-1.0])), admissible(Poisson(), np.array([-1.0]))
    (array([-1.]), array([0.]))
    """
    return np.asarray(likelihood.admissible(predictions)) if hasattr(likelihood, "admissible") else predictions


class GateRows:
    """Rows whose gate features are computed once, and only if a gate or a stack asks for them.

    Parameters
    ----------
    X : array, sparse matrix or frame, n rows
    features : GateFeatures
        Fitted.
    """

    def __init__(self, X: Any, features: GateFeatures) -> None:
        self.X = X
        self.features = features

    def __len__(self) -> int:
        return n_rows(self.X)

    @cached_property
    def base(self) -> Any:
        """Gate features (n, q) from X alone, None if there are none."""
        return self.features.base(self.X)


@dataclass(frozen=True)
class TargetPrediction:
    """Weights and predictions for some rows and one target.

    Parameters
    ----------
    weights : ndarray of shape (n, K)
    values : ndarray of shape (n, K) or (n, K, C)
        NaN where a column has no weight and was not asked.
    scale : ndarray of shape (n, K) or None
        The columns' own standard deviations, where any has one and they were asked for.
    likelihood : fitted likelihood
    X : array, sparse matrix or frame, n rows
    calibration : Calibration or None
        Recalibrates the distribution of the mixture, whose mean stays the combined prediction.
    """

    weights: Array
    values: Array
    scale: Array | None
    likelihood: Any
    X: Any
    calibration: Calibration | None = None

    def combined(self) -> Array:
        """Weighted sum of the predictions, (n,) or (n, C)."""
        return combine(self.weights, self.values)

    def log_prob(self, y: NDArray[Any]) -> Array:
        """Log density (n, K) of y under each column."""
        return np.asarray(self.likelihood.log_prob(y, self.values, scale=self.scale, X=self.X))

    def deviation(self) -> Array:
        """Standard deviation (n, K) of y around each column's prediction."""
        return np.asarray(self.likelihood.standard_deviation(self.values, scale=self.scale, X=self.X))

    def distribution(self) -> Any:
        """Distribution (n, K) of y under each column."""
        return self.likelihood.distribution(self.values, scale=self.scale, X=self.X)

    def spread(self) -> Array:
        """Standard deviation (n,) of y."""
        if self.calibration is None:
            return spread(self.weights, self.values, self.deviation())
        return self._moments.deviation

    def variance_parts(self) -> tuple[Array, Array]:
        """Variance of y within and between the columns, (n,) each; their sum is the square of `spread`."""
        within, between = variance_parts(self.weights, self.values, self.deviation())
        if self.calibration is None:
            return within, between
        total = within + between
        ratio = np.divide(np.square(self._moments.deviation), total, out=np.ones_like(total), where=total > 0)
        return ratio * within, ratio * between

    def quantile(self, q: Any) -> Array:
        """Quantiles of y, (n,) or (n, m)."""
        if self.calibration is None:
            return quantile(self.weights, self.distribution(), q)
        levels = check_levels(q)
        levels = self.calibration.inverse(np.atleast_1d(levels)).reshape(levels.shape)
        found = quantile(self.weights, self.distribution(), levels)
        return np.asarray(found - (self._shift if found.ndim == 1 else self._shift[:, None]))

    def interval(self, coverage: float) -> Array:
        """Central interval (n, 2) that holds y with some probability."""
        return self.quantile(central_levels(coverage))

    def sample(self, rng: Any) -> Array:
        """A draw of y for each row, (n,)."""
        if self.calibration is None:
            return sample(self.weights, self.distribution(), rng)
        levels = self.calibration.inverse(rng.random_sample(len(self.weights)))
        return np.asarray(quantile_by_row(self.weights, self.distribution(), levels) - self._shift)

    def log_density(self, y: NDArray[Any]) -> Array:
        """Log density or log probability (n,) of y."""
        if self.calibration is None:
            return posterior(self.weights, self.log_prob(y))[1]
        moved = y + self._shift
        raw = posterior(self.weights, self.log_prob(moved))[1]
        return np.asarray(raw + np.log(self.calibration.density(cdf(self.weights, self.distribution(), moved))))

    @cached_property
    def _moments(self) -> Moments:
        assert self.calibration is not None
        return calibrated_moments(self.calibration, self.weights, self.distribution())

    @cached_property
    def _shift(self) -> Array:
        """What the recalibrated distribution is moved by, so that its mean is the combined prediction, (n,)."""
        return self._moments.mean - self.combined()


@dataclass(frozen=True)
class Combination(ABC):
    """Fitted columns under weights that depend on the row; abstract: subclasses say what the weights are.

    Parameters
    ----------
    names : list of K str
        Of all columns, those of the second level last.
    columns : list of FittedExpert or FoldAverage
        Of the first level.
    features : GateFeatures
        Fitted.
    n_targets, n_classes : int or None
    top_k : int or None
    """

    names: list[str]
    columns: Sequence[Any]
    features: GateFeatures
    n_targets: int | None
    n_classes: int | None
    top_k: int | None

    @property
    @abstractmethod
    def likelihoods(self) -> list[Any]:
        """Fitted likelihood of each target."""

    @property
    def calibrations(self) -> list[Calibration | None]:
        """Recalibration of the distribution of each target; none by default."""
        return [None] * len(self.likelihoods)

    @abstractmethod
    def _gate_part(self, n: int) -> tuple[Any, NDArray[np.intp], float, Array]:
        """For a single target: gate, the columns that it weighs, its share, and constant weights (n, K) besides."""

    @abstractmethod
    def _weights(self, rows: GateRows, t: int, values: Array | None) -> Array:
        """Weights (n, K) for target t from gate features, and predictions where the gate looks at them."""

    def _first_level_needed(self, weights: list[Array], scaled: bool) -> NDArray[np.bool_]:
        """Which columns of the first level must answer which rows, (n, E)."""
        return np.any([weight > 0 for weight in weights], axis=0)

    def _second_level(self, rows: GateRows, values: Array, scale: Array | None) -> tuple[Array, Array | None]:
        """Predictions and scales of all columns, from those of the first level."""
        return values, scale

    def _widths(self, needed: NDArray[np.bool_]) -> dict[str, int]:
        """How many columns of the first level each column of the second level sees, of those needed (K,)."""
        return {}

    def _second_level_gradient(self, X: Any, values: Array, slopes: Array, widths: dict[str, int]) -> Array:
        """Gradients (n, K, d) with those of the columns of the second level filled in."""
        return slopes

    @property
    def several_labels(self) -> bool:
        """Whether there are labels of which tables hold the probabilities, (n, K, L); each is predicted as classes."""
        return self.n_targets is not None and self.n_classes is not None

    def weights(self, X: Any) -> list[Array]:
        """Weights (n, K) for each target."""
        if self.features.asks_experts:
            return [one.weights for one in self.predictions(X)]
        return self._weights_before(GateRows(X, self.features))

    def _weights_before(self, rows: GateRows) -> list[Array]:
        """Weights (n, K) for each target by a gate that needs no predictions."""
        return [self._weights(rows, t, None) for t in range(len(self.likelihoods))]

    def predictions(self, X: Any, *, scaled: bool = False, everywhere: bool = False) -> list[TargetPrediction]:
        """Weights and predictions for each target.

        Parameters
        ----------
        X : array, sparse matrix or frame, n rows
        scaled : bool
            Ask columns for their own standard deviations too.
        everywhere : bool
            Ask every column about every row, and not only where it has weight.
        """
        if self.features.asks_experts or everywhere:
            every = np.arange(n_rows(X))
            return self.combine(X, *self._ask(X, [every] * len(self.columns), scaled))
        rows = GateRows(X, self.features)
        weights = self._weights_before(rows)
        needed = self._first_level_needed(weights, scaled)
        asked = self._ask(X, [np.flatnonzero(column) for column in needed.T], scaled)
        return self._of_targets(X, weights, self._by_target(*self._second_level(rows, *asked)))

    def combine(self, X: Any, values: Array, scale: Array | None = None) -> list[TargetPrediction]:
        """As `predictions`, from the predictions of the first level, (n, E), (n, E, C), (n, E, T) or (n, E, L)."""
        rows = GateRows(X, self.features)
        parts = self._by_target(*self._second_level(rows, values, scale))
        weights = [self._weights(rows, t, part[0]) for t, part in enumerate(parts)]
        return self._of_targets(X, weights, parts)

    def _of_targets(
        self, X: Any, weights: list[Array], parts: list[tuple[Array, Array | None]]
    ) -> list[TargetPrediction]:
        return [
            TargetPrediction(weight, *part, likelihood, X, calibration)
            for weight, part, likelihood, calibration in zip(
                weights, parts, self.likelihoods, self.calibrations, strict=True
            )
        ]

    def column_predictions(self, X: Any, *, scaled: bool = False) -> tuple[Array, Array | None]:
        """Predictions of every column for every row, (n, K), (n, K, C), (n, K, T) or (n, K, L); and scales alike."""
        every = np.arange(n_rows(X))
        return self._second_level(GateRows(X, self.features), *self._ask(X, [every] * len(self.columns), scaled))

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Combined prediction (n,) or (n, T) and, where asked for, the standard deviation of y."""
        found = self.predictions(X, scaled=return_std)
        mean = self.stack_targets([one.combined() for one in found])
        if not return_std:
            return mean
        return mean, self.stack_targets([one.spread() for one in found])

    def predict_proba(self, X: Any) -> Array:
        """Combined class probabilities (n, C), or those of each label (n, L)."""
        mixed = [one.combined() for one in self.predictions(X)]
        return self.stack_predictions([one / one.sum(axis=1, keepdims=True) for one in mixed])

    def predict_gradient(self, X: Any) -> Array:
        """Gradient (n, d) of the combined prediction in x, by the chain rule.

        Raises
        ------
        NoGradientError
            If an expert that has weight, the gate or its features have no gradient, or there are several targets.
        """
        if self.n_targets is not None:
            raise NoGradientError(
                f"y had {self.n_targets} targets, and gradients are for one; fit a mixture for each target."
            )
        values = self.column_predictions(X)[0]
        everything = np.ones(values.shape[1], dtype=bool)
        slopes = self._column_gradients(X, values, everything) if self.features.asks_experts else None
        weights, weights_slope = self._weights_gradient(X, values, slopes)
        if slopes is None:
            needed = np.asarray((weights > 0).any(axis=0) | (weights_slope != 0).any(axis=(0, 2)))
            slopes = self._column_gradients(X, values, needed)
        return mixture_gradient(weights, values, weights_slope, slopes)

    def _weights_gradient(self, X: Any, values: Array, slopes: Array | None) -> tuple[Array, Array]:
        """Weights (n, K) and their gradient (n, K, d)."""
        gate, inside, share, weights = self._gate_part(len(values))
        slope = np.zeros((*weights.shape, np.shape(X)[1]))
        if share == 0:
            return weights, slope
        seen = values[:, inside]
        Z = self.features.join(self.features.base(X), seen)
        full = gate.predict_proba(Z)
        kept = keep_top(full, self.top_k)
        weights[:, inside] += share * kept
        moved = gate_gradient(gate, Z) if full.shape[1] > 1 else None
        if moved is not None and moved.any():  # constant weights need no gradient of what they look at
            inner = self.features.jacobian(X, seen, None if slopes is None else slopes[:, inside])
            slope[:, inside] += share * (top_gradient(full, moved, kept) @ inner)
        return weights, slope

    def _column_gradients(self, X: Any, values: Array, needed: NDArray[np.bool_]) -> Array:
        """Gradients (n, K, d) of the columns that are needed, zero for the others."""
        slopes = np.zeros((*values.shape[:2], np.shape(X)[1]))
        widths = self._widths(needed)
        for k, column in enumerate(self.columns):
            if needed[k] or k < max(widths.values(), default=0):
                slopes[:, k] = gradient(column.model, X)
        if hasattr(self.likelihoods[0], "admissible"):  # where a prediction was replaced it does not move
            slopes[values <= 0] = 0.0
        return self._second_level_gradient(X, values, slopes, widths)

    def stack_targets(self, tables: Sequence[Array]) -> Array:
        """One table, or the tables of all targets along a last axis."""
        return tables[0] if self.n_targets is None else np.stack(tables, axis=-1)

    def stack_predictions(self, tables: Sequence[Array]) -> Array:
        """The same for predictions: of each label, the probability of 1 instead of those of both classes."""
        return self.stack_targets([table[..., 1] for table in tables] if self.several_labels else tables)

    def _ask(self, X: Any, rows: Sequence[Rows], scaled: bool) -> tuple[Array, Array | None]:
        """Predictions of each column of the first level for its rows, NaN elsewhere."""
        n, E = n_rows(X), len(self.columns)
        depth = self.n_targets or self.n_classes
        values = np.full((n, E) if depth is None else (n, E, depth), np.nan)
        scale: Array | None = None
        for k, column in enumerate(self.columns):
            if not len(rows[k]):
                continue
            part = X if len(rows[k]) == n else take_rows(X, rows[k])
            try:
                values[rows[k], k], own = column.predict_with_scale(part) if scaled else (column.predict(part), None)
            except Exception as error:  # a foreign predict may raise anything
                raise ValueError(f"expert {column.name!r} cannot predict: {type(error).__name__}: {error}") from error
            if own is not None:
                scale = np.full(values.shape, np.nan) if scale is None else scale
                scale[rows[k], k] = own
        return admissible(self.likelihoods[0], values), scale

    def _by_target(self, values: Array, scale: Array | None) -> list[tuple[Array, Array | None]]:
        if self.n_targets is None:
            return [(values, scale)]
        return [(self._of_target(values, t), None if scale is None else scale[:, :, t]) for t in range(values.shape[2])]

    def _of_target(self, values: Array, t: int) -> Array:
        """The predictions (n, K) for one of several targets, or the probabilities (n, K, 2) of a label."""
        return both_classes(values[:, :, t]) if self.several_labels else values[:, :, t]
