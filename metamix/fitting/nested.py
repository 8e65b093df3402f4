"""Nested cross-fitting: predictions by models that saw neither the fold of a row nor a second fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.fitting.out_of_fold import OutOfFold

__all__ = ["InsideFolds", "NestedFit", "nested_fits"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class NestedFit:
    """One fit and the folds that it serves: a model fitted without folds f and g serves both.

    Parameters
    ----------
    train, test : ndarray of int
        Rows to fit and rows to predict.
    serves : tuple of (f, rows)
        Outer folds, and the rows whose predictions they take.
    position : (f, g)
        The first outer fold that it serves, and the one of the folds nested in it whose training rows these are.
    """

    train: Rows
    test: Rows
    serves: tuple[tuple[int, Rows], ...]
    position: tuple[int, int]

    def __str__(self) -> str:
        return "without folds " + " and ".join(str(f) for f, _ in self.serves)


def nested_fits(nested: Sequence[Folds | None]) -> list[NestedFit]:
    """The fits behind nested folds (see `Folds.nested`), those on the same rows once.

    Examples
    --------
    >>> from metamix.data.folds import make_folds
    >>> folds = make_folds(5, np.zeros((10, 1)), np.zeros(10), random_state=0)
    >>> len(nested_fits(folds.nested(np.zeros((10, 1)), np.zeros(10))))
    10
    """
    found: dict[bytes, NestedFit] = {}
    for f, folds in enumerate(nested):
        for g, (train, test) in enumerate(() if folds is None else folds.pairs):
            key = train.tobytes()
            fit = found.get(key, NestedFit(train, test, (), (f, g)))
            found[key] = replace(fit, test=np.union1d(fit.test, test), serves=(*fit.serves, (f, test)))
    return list(found.values())


class InsideFolds:
    """Predictions of nested fits, gathered for each outer fold.

    Parameters
    ----------
    table : OutOfFold
        The predictions that they belong to.
    nested : sequence of Folds or None
        As `Folds.nested` returns them; for None the table itself is taken.
    """

    def __init__(self, table: OutOfFold, nested: Sequence[Folds | None]) -> None:
        self._table = replace(table, inside=None)
        self._nested = nested
        self._values = [None if folds is None else np.zeros(table.values.shape) for folds in nested]
        self._times = [np.zeros(table.values.shape[:2]) for _ in nested]
        scaled = table.scale is not None
        self._scales = [np.zeros(table.values.shape) if folds is not None and scaled else None for folds in nested]

    def add(self, fit: NestedFit, column: int, values: Array, scale: Array | None) -> None:
        """Take the predictions of one fit for its test rows."""
        for f, rows in fit.serves:
            at = np.searchsorted(fit.test, rows)
            mine, own = self._values[f], self._scales[f]
            assert mine is not None
            mine[rows, column] += values[at]
            self._times[f][rows, column] += 1
            if own is not None:
                own[rows, column] += np.nan if scale is None else scale[at]

    def joined(self) -> OutOfFold:
        """The table with the predictions inside its folds."""
        return replace(self._table, inside=tuple(self._fold(f) for f in range(len(self._nested))))

    def _fold(self, f: int) -> OutOfFold:
        values, scale = self._values[f], self._scales[f]
        if values is None:
            return self._table
        times = self._times[f].reshape(self._times[f].shape + (1,) * (values.ndim - 2))
        with np.errstate(invalid="ignore"):
            return replace(self._table, values=values / times, scale=None if scale is None else scale / times)
