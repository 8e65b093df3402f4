"""The table of out-of-fold predictions with expert names, fit times and failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.recombination import both_classes

__all__ = ["Failure", "OutOfFold"]


@dataclass(frozen=True)
class Failure:
    """A failed expert: its name, the fold (-1 means all rows) and the error message."""

    expert: str
    fold: int
    error: str


@dataclass
class OutOfFold:
    """Out-of-fold predictions of K experts.

    Parameters
    ----------
    names : list of str, length K
    values : ndarray of shape (n, K), (n, K, C), (n, K, T) or (n, K, L)
        Predictions, or probabilities of C classes, or of each of L labels, averaged over repeats; NaN for rows that
        were never held out.
    fit_seconds, predict_seconds : ndarray of shape (K,)
        Seconds, summed over folds.
    failures : list of Failure
    models : dict from (name, fold) to fitted expert
        Fold models, if they are kept.
    scale : ndarray of shape (n, K) or (n, K, T), or None
        Predictive standard deviations given by the experts, NaN for experts without one; None if no expert has one.
    inside : tuple of OutOfFold, or None
        For each fold, predictions of its training rows by models that were not trained on the rows that it holds out
        either; NaN for other rows. None if there are no such predictions, and the table itself stands for them.

    Examples
    --------
    >>> table = OutOfFold(["a", "b"], np.array([[1.0, 2.0]]), np.zeros(2), np.zeros(2))
    >>> table.take([1]).names
    ['b']
    """

    names: list[str]
    values: NDArray[np.float64]
    fit_seconds: NDArray[np.float64]
    predict_seconds: NDArray[np.float64]
    failures: list[Failure] = field(default_factory=list)
    models: dict[tuple[str, int], Any] = field(default_factory=dict)
    scale: NDArray[np.float64] | None = None
    inside: tuple[OutOfFold, ...] | None = None

    @classmethod
    def empty(cls) -> OutOfFold:
        """Return a table without columns or rows."""
        return cls([], np.empty((0, 0)), np.empty(0), np.empty(0))

    def take(self, columns: Sequence[int]) -> OutOfFold:
        """Return the table of the given experts only, in the given order."""
        columns = list(columns)
        return OutOfFold(
            [self.names[k] for k in columns],
            self.values[:, columns],
            self.fit_seconds[columns],
            self.predict_seconds[columns],
            self.failures,
            self.models,
            None if self.scale is None else self.scale[:, columns],
            None if self.inside is None else tuple(table.take(columns) for table in self.inside),
        )

    def target(self, t: int, *, label: bool = False) -> OutOfFold:
        """Return the table of target t alone, if there are several; of a `label` the probabilities of 0 and 1."""
        values = self.values[:, :, t]
        return replace(
            self,
            values=both_classes(values) if label else values,
            scale=None if self.scale is None else self.scale[:, :, t],
            inside=None if self.inside is None else tuple(table.target(t, label=label) for table in self.inside),
        )

    def mapped(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> OutOfFold:
        """Return the table with a function applied to all predictions."""
        inside = None if self.inside is None else tuple(table.mapped(function) for table in self.inside)
        return replace(self, values=function(self.values), inside=inside)

    def for_fold(self, f: int) -> OutOfFold:
        """Return the predictions from which a model that is judged on fold f learns."""
        return self if self.inside is None else self.inside[f]

    def join(self, other: OutOfFold) -> OutOfFold:
        """Return a table with the experts of both tables."""
        return OutOfFold(
            self.names + other.names,
            np.concatenate([self.values, other.values], axis=1),
            np.concatenate([self.fit_seconds, other.fit_seconds]),
            np.concatenate([self.predict_seconds, other.predict_seconds]),
            self.failures + other.failures,
            {**self.models, **other.models},
            _join_scales(self, other),
            _join_inside(self, other),
        )


def _join_inside(first: OutOfFold, second: OutOfFold) -> tuple[OutOfFold, ...] | None:
    """Tables inside the folds of both; one without any stands for its own."""
    folds = range(len(first.inside or second.inside or ()))
    return tuple(first.for_fold(f).join(second.for_fold(f)) for f in folds) or None


def _join_scales(first: OutOfFold, second: OutOfFold) -> NDArray[np.float64] | None:
    """Scales of both tables, NaN for experts without one."""
    if first.scale is None and second.scale is None:
        return None
    parts = [np.full(table.values.shape, np.nan) if table.scale is None else table.scale for table in (first, second)]
    return np.concatenate(parts, axis=1)
