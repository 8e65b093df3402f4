"""Which expert of the pool suits which regime, by weighted loss on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metamix.answers import Failure
from metamix.fitting import Workshop

__all__ = ["choose_types", "prune"]

Array = NDArray[np.float64]

# Choosing types costs fits: folds are added until so many held-out rows have spoken.
ENOUGH_ROWS = 60
# A regime with fewer effective rows than this cannot teach an expert.
FEWEST_ROWS = 10.0


def prune(responsibilities: Array, weight: Array) -> Array:
    """Responsibilities without regimes that starve; their rows go to the others.

    Examples
    --------
    >>> prune(np.array([[0.9, 0.1]] * 50), np.ones(50)).shape
    (50, 1)
    """
    while responsibilities.shape[1] > 1:
        mass = (weight > 0) @ responsibilities
        least = int(mass.argmin())
        if mass[least] >= FEWEST_ROWS:
            break
        responsibilities = np.delete(responsibilities, least, axis=1)
        total = responsibilities.sum(axis=1, keepdims=True)
        even = 1 / responsibilities.shape[1]
        responsibilities = np.where(total > 1e-12, responsibilities / np.maximum(total, 1e-12), even)
    return responsibilities


def choose_types(workshop: Workshop, responsibilities: Array) -> tuple[list[int], list[Failure]]:
    """The best entry of the pool for each regime.

    Parameters
    ----------
    workshop : Workshop
        Open; its entries are the pool.
    responsibilities : ndarray of shape (n, K)

    Returns
    -------
    (list of K positions, list of Failure)
        An entry may serve several regimes.

    Raises
    ------
    AllExpertsFailedError
        If none answered for some regime.
    """
    data, folds = workshop.data, workshop.folds
    K, pool = responsibilities.shape[1], range(len(workshop.entries))
    if len(pool) == 1:
        return [0] * K, []
    speaking: list[int] = []
    heard = [np.count_nonzero(data.weight[test]) for _, test in folds.pairs]
    while len(speaking) < len(folds) and sum(heard[f] for f in speaking) < ENOUGH_ROWS * K:
        speaking.append(len(speaking))
    rows = np.unique(np.concatenate([folds.pairs[f][1] for f in speaking]))
    pairs = [(k, e) for k in range(K) for e in pool]
    weights = responsibilities[:, [k for k, _ in pairs]] if K > 1 else None
    kept, answers = workshop.cross_fit([e for _, e in pairs], weights, only=speaking)
    values = answers.values[rows]
    if data.n_classes is None:
        losses = np.square(values - data.y[rows, None])
    else:
        losses = -np.log(np.clip(values[np.arange(len(rows)), :, data.y[rows]], 1e-3, 1))
    trust = data.weight[rows, None] * responsibilities[rows]
    total: dict[tuple[int, int], float] = {
        pairs[j]: float(trust[:, pairs[j][0]] @ losses[:, i]) for i, j in enumerate(kept)
    }
    return [_best(workshop, total, k, pool, answers.failures) for k in range(K)], answers.failures


def _best(
    workshop: Workshop,
    total: dict[tuple[int, int], float],
    k: int,
    pool: Sequence[int],
    failures: list[Failure],
) -> int:
    there = [e for e in pool if (k, e) in total]
    if not there:
        workshop.raise_all_failed(failures)
    return min(there, key=lambda e: total[k, e])
