"""The table that everything after fitting reads: out-of-fold answers, who gave them, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Failure", "OutOfFold"]


@dataclass(frozen=True)
class Failure:
    """One expert that could not answer: its name, the fold (-1: all rows) and the error's text."""

    expert: str
    fold: int
    error: str


@dataclass
class OutOfFold:
    """Out-of-fold answers of K experts.

    Parameters
    ----------
    names : list of str, length K
    values : ndarray of shape (n, K), (n, K, C) or (n, K, T)
        Predictions, or probabilities of C classes; NaN where a row was never held out; averaged over
        repeats.
    fit_seconds, predict_seconds : ndarray of shape (K,)
        Summed over folds.
    failures : list of Failure
    models : dict from (name, fold) to fitted expert
        Filled where fold models are kept.
    scale : ndarray of shape (n, K) or (n, K, T), or None
        The experts' own predictive standard deviation, NaN where an expert has none; None where none has.

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

    @classmethod
    def empty(cls) -> OutOfFold:
        """A table without columns or rows."""
        return cls([], np.empty((0, 0)), np.empty(0), np.empty(0))

    def take(self, columns: Sequence[int]) -> OutOfFold:
        """The same table with these experts only, in this order."""
        columns = list(columns)
        return OutOfFold(
            [self.names[k] for k in columns],
            self.values[:, columns],
            self.fit_seconds[columns],
            self.predict_seconds[columns],
            self.failures,
            self.models,
            None if self.scale is None else self.scale[:, columns],
        )

    def target(self, t: int) -> OutOfFold:
        """Values and scale of target t alone, where there are several."""
        return replace(self, values=self.values[:, :, t], scale=None if self.scale is None else self.scale[:, :, t])

    def join(self, other: OutOfFold) -> OutOfFold:
        """The columns of both tables side by side."""
        return OutOfFold(
            self.names + other.names,
            np.concatenate([self.values, other.values], axis=1),
            np.concatenate([self.fit_seconds, other.fit_seconds]),
            np.concatenate([self.predict_seconds, other.predict_seconds]),
            self.failures + other.failures,
            {**self.models, **other.models},
            _beside(self, other),
        )


def _beside(one: OutOfFold, other: OutOfFold) -> NDArray[np.float64] | None:
    """Scales of both tables, NaN for experts that have none."""
    if one.scale is None and other.scale is None:
        return None
    parts = [np.full(table.values.shape, np.nan) if table.scale is None else table.scale for table in (one, other)]
    return np.concatenate(parts, axis=1)
