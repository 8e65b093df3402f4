"""A model tree: the table is cut along its columns where linear models on either side lower the error most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["leaves"]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

# Cuts tried along a column; with fewer rows, every one between two of them.
MOST_CUTS = 64
# A model on one side of a cut must be shrunk a little, or few rows would be interpolated.
RIDGE = 1e-6
# A gain of less than this share of the target is what is left of that.
ROUNDING = 1e-8


def leaves(columns: Array, terms: Array, Y: Array, weight: Array, most: int, fewest: int) -> Iterator[Labels]:
    """Ever finer partitions of the rows: a model tree, grown best cut first.

    Every leaf holds a linear model on the terms; the leaf and the cut that lower the squared error most come
    next. Where regimes have borders along columns this finds in one go what random starts may miss, such as
    planes that meet in a continuous function.

    Parameters
    ----------
    columns : ndarray of shape (n, q)
        What is cut.
    terms : ndarray of shape (n, p)
        What the models of the leaves are linear in.
    Y : ndarray of shape (n, m)
    weight : ndarray of shape (n,)
    most : int
        Leaves at most.
    fewest : int
        Rows of a leaf at least.

    Yields
    ------
    ndarray of shape (n,)
        The leaf of each row, from 0: two leaves, then three, and so on; ends where no leaf can be cut.

    References
    ----------
    Quinlan (1992), Learning with continuous classes; Zeileis, Hothorn & Hornik (2008), Model-based recursive
    partitioning.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> lines = np.hstack([np.ones((40, 1)), x])
    >>> (two,) = leaves(x, lines, np.abs(x), np.ones(40), most=2, fewest=5)
    >>> np.bincount(two)
    array([20, 20])
    """
    labels = np.zeros(len(Y), dtype=np.intp)
    open_cuts = [_best_cut(columns, terms, Y, weight, np.arange(len(Y)), fewest)]
    while len(open_cuts) < most:
        best = int(np.argmax([cut.gain for cut in open_cuts]))
        if not open_cuts[best].gain > 0:
            return
        sides = open_cuts[best].left, open_cuts[best].right
        labels[sides[1]] = len(open_cuts)
        open_cuts[best] = _best_cut(columns, terms, Y, weight, sides[0], fewest)
        open_cuts.append(_best_cut(columns, terms, Y, weight, sides[1], fewest))
        yield labels.copy()


@dataclass(frozen=True)
class _Cut:
    gain: float
    left: NDArray[np.intp]
    right: NDArray[np.intp]


def _best_cut(columns: Array, terms: Array, Y: Array, weight: Array, rows: NDArray[np.intp], fewest: int) -> _Cut:
    """The cut of some rows that lowers the squared error of the models most."""
    best = _Cut(0.0, rows, rows[:0])
    if len(rows) < 2 * fewest:
        return best
    joint = np.hstack([terms[rows], Y[rows]])
    p = terms.shape[1]
    for j in range(columns.shape[1]):
        order = np.argsort(columns[rows, j], kind="stable")
        along = columns[rows[order], j]
        places = np.flatnonzero(along[1:] > along[:-1]) + 1
        places = places[(places >= fewest) & (places <= len(rows) - fewest)]
        if len(places) > MOST_CUTS:
            places = places[np.linspace(0, len(places) - 1, MOST_CUTS).astype(int)]
        if not len(places):
            continue
        sorted_rows = joint[order]
        weighted = sorted_rows * weight[rows[order], None]
        pieces = np.stack([
            weighted[begin:end].T @ sorted_rows[begin:end]
            for begin, end in zip([0, *places], [*places, len(rows)], strict=True)
        ])  # fmt: skip
        below = np.cumsum(pieces, axis=0)
        whole, below = below[-1], below[:-1]
        gains = _error(whole[None], p)[0] - _error(below, p) - _error(whole - below, p)
        first = int(np.argmax(gains))
        if gains[first] > max(best.gain, ROUNDING * whole[p:, p:].trace()):
            best = _Cut(float(gains[first]), rows[order[: places[first]]], rows[order[places[first] :]])
    return best


def _error(grams: Array, p: int) -> Array:
    """Squared error (c,) of ridge models, from cross-products (c, p + m, p + m) of terms and targets."""
    inner, outer = grams[:, :p, :p].copy(), grams[:, :p, p:]
    trace = np.trace(inner, axis1=1, axis2=2)
    inner[:, np.arange(p), np.arange(p)] += RIDGE * trace[:, None] / p + 1e-12
    explained = (outer * np.linalg.solve(inner, outer)).sum(axis=(1, 2))
    return np.asarray(np.trace(grams[:, p:, p:], axis1=1, axis2=2) - explained)
