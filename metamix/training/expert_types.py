"""Which expert of the pool suits which regime, by weighted loss on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from metamix.fitting import FitSession
from metamix.fitting.out_of_fold import Failure
from metamix.training.losses import row_losses, target_units

__all__ = ["best_single", "choose_types"]

Array = NDArray[np.float64]

#: Choosing types costs fits: folds are added until so many rows per regime were held out.
ENOUGH_ROWS = 60


def choose_types(
    session: FitSession,
    responsibilities: Array,
    among: Sequence[int] | None = None,
    *,
    each_once: bool = False,
    keep: bool = False,
) -> tuple[list[int], list[Failure]]:
    """The expert of the pool with the smallest held-out loss in each regime.

    The session remembers the fits, so that the first round does not repeat those of the experts chosen.

    Parameters
    ----------
    session : FitSession
        Open; its experts are the pool.
    responsibilities : ndarray of shape (n, K)
    among : sequence of int, optional
        Experts of the pool that may serve; all by default.
    each_once : bool
        Every expert serves one regime, and the total loss is the least that allows (Kuhn 1955).
    keep : bool
        Keep the fold models for the first round.

    Returns
    -------
    (list of K positions, list of Failure)
        An expert may serve several regimes, unless `each_once`.

    Raises
    ------
    AllExpertsFailedError
        If none could be fitted for some regime.
    """
    among = range(len(session.experts)) if among is None else among
    if len(among) == 1:
        return list(among) * responsibilities.shape[1], []
    trial = _try(session, responsibilities, among, keep)
    total = trial.total
    if each_once:
        worst = total[np.isfinite(total)].max()
        _, chosen = linear_sum_assignment(np.where(np.isfinite(total), total, 1e3 * (worst + 1)))
    else:
        chosen = total.argmin(axis=1)
    return [int(e) for e in chosen], trial.failures


def best_single(session: FitSession, keep: bool = False) -> tuple[int, Array, NDArray[np.intp]]:
    """The expert with the smallest held-out loss over all rows, its losses, and the rows (m,) that they are of."""
    trial = _try(session, np.ones((session.problem.n, 1)), range(len(session.experts)), keep)
    expert = int(trial.total[0].argmin())
    return expert, trial.losses[:, trial.kept.index(expert)], trial.rows


@dataclass(frozen=True)
class _Trial:
    """Losses (m, J) of pairs of regime and expert on some held-out rows (m,), and their totals (K, E)."""

    total: Array
    losses: Array
    rows: NDArray[np.intp]
    kept: list[int]
    failures: list[Failure]


def _try(session: FitSession, responsibilities: Array, among: Sequence[int], keep: bool) -> _Trial:
    """Every expert that may serve fitted to every regime, on as few folds as hold out enough rows."""
    problem, folds = session.problem, session.folds
    K, E = responsibilities.shape[1], len(session.experts)
    held_out = [problem.counts[test].sum() for _, test in folds.pairs]
    enough = np.searchsorted(np.cumsum(held_out), ENOUGH_ROWS * K) + 1
    only = list(range(min(int(enough), len(folds))))
    rows = np.unique(np.concatenate([folds.pairs[f][1] for f in only]))
    pairs = [(k, e) for k in range(K) for e in among]
    weights = responsibilities[:, [k for k, _ in pairs]] if K > 1 else None
    kept, found = session.cross_fit([e for _, e in pairs], weights, only=only, remember=True, keep=keep)
    losses = row_losses(problem.take(rows), found.values[rows], target_units(problem))
    weight = problem.weight[rows, None] * responsibilities[rows]
    total = np.full((K, E), np.inf)
    for i, j in enumerate(kept):
        k, e = pairs[j]
        total[k, e] = float(weight[:, k] @ losses[:, i])
    if not np.isfinite(total).any(axis=1).all():
        session.raise_all_failed(found.failures)
    return _Trial(total, losses, rows, kept, found.failures)
