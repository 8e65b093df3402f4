"""Which expert of the pool suits which regime, by weighted loss on held-out rows; which regimes starve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from metamix.fitting import FitSession, Problem
from metamix.fitting.out_of_fold import Failure
from metamix.training.judging import STANDARD_ERRORS, paired

__all__ = [
    "best_single", "choose_types", "exact_regimes", "fewest_rows", "nearer", "regimes_pay", "row_losses",
    "target_units",
]  # fmt: skip

Array = NDArray[np.float64]

# Choosing types costs fits: folds are added until so many held-out rows have spoken.
ENOUGH_ROWS = 60
# Errors below this share of the range that holds the middle half of y are exact. Regimes are certain where so many
# rows are, and so many more than by a constant, which is exact wherever y has one value most of the time.
EXACT, EXACT_SHARE, EXACT_GAIN = 1e-2, 0.5, 0.3
# Errors below this share of the standard deviation of y are as good as each other.
NEAR = 1e-3
# Probabilities are clipped as the categorical likelihood clips them: losses of both are compared.
CLIP = 1e-6


def choose_types(
    session: FitSession, responsibilities: Array, *, each_once: bool = False, keep: bool = False
) -> tuple[list[int], list[Failure]]:
    """The best entry of the pool for each regime.

    The session remembers the fits, so that the first round does not repeat those of the chosen.

    Parameters
    ----------
    session : FitSession
        Open; its entries are the pool.
    responsibilities : ndarray of shape (n, K)
    each_once : bool
        Every entry serves one regime, and the total loss is the least that allows (Kuhn 1955).
    keep : bool
        The first round will want the fold models too.

    Returns
    -------
    (list of K positions, list of Failure)
        An entry may serve several regimes, unless `each_once`.

    Raises
    ------
    AllExpertsFailedError
        If none answered for some regime.
    """
    K, E = responsibilities.shape[1], len(session.entries)
    if E == 1:
        return [0] * K, []
    trial = _try(session, responsibilities, keep)
    total = trial.total
    if each_once:
        worst = total[np.isfinite(total)].max()
        _, chosen = linear_sum_assignment(np.where(np.isfinite(total), total, 1e3 * (worst + 1)))
    else:
        chosen = total.argmin(axis=1)
    return [int(e) for e in chosen], trial.failures


def best_single(session: FitSession, keep: bool = False) -> tuple[int, Array, NDArray[np.intp]]:
    """The entry that answers best for all rows, its losses, and the held-out rows (m,) that they are of."""
    trial = _try(session, np.ones((session.data.n, 1)), keep)
    entry = int(trial.total[0].argmin())
    return entry, trial.losses[:, trial.kept.index(entry)], trial.rows


@dataclass(frozen=True)
class _Trial:
    """Losses (m, J) of pairs of regime and entry on some held-out rows (m,), and their totals (K, E)."""

    total: Array
    losses: Array
    rows: NDArray[np.intp]
    kept: list[int]
    failures: list[Failure]


def _try(session: FitSession, responsibilities: Array, keep: bool) -> _Trial:
    """Every entry fitted to every regime, on as few folds as give enough held-out rows."""
    data, folds = session.data, session.folds
    K, E = responsibilities.shape[1], len(session.entries)
    speaking: list[int] = []
    heard = [np.count_nonzero(data.weight[test]) for _, test in folds.pairs]
    while len(speaking) < len(folds) and sum(heard[f] for f in speaking) < ENOUGH_ROWS * K:
        speaking.append(len(speaking))
    rows = np.unique(np.concatenate([folds.pairs[f][1] for f in speaking]))
    pairs = [(k, e) for k in range(K) for e in range(E)]
    weights = responsibilities[:, [k for k, _ in pairs]] if K > 1 else None
    kept, answers = session.cross_fit([e for _, e in pairs], weights, only=speaking, remember=True, keep=keep)
    losses = row_losses(data.take(rows), answers.values[rows], target_units(data))
    trust = data.weight[rows, None] * responsibilities[rows]
    total = np.full((K, E), np.inf)
    for i, j in enumerate(kept):
        k, e = pairs[j]
        total[k, e] = float(trust[:, k] @ losses[:, i])
    if not np.isfinite(total).any(axis=1).all():
        session.raise_all_failed(answers.failures)
    return _Trial(total, losses, rows, kept, answers.failures)


def fewest_rows(n: int) -> float:
    """How many effective rows a regime needs, or it cannot teach an expert: a tenth of the table, from 3 to 10.

    Examples
    --------
    >>> fewest_rows(20), fewest_rows(50), fewest_rows(5000)
    (3.0, 5.0, 10.0)
    """
    return min(max(n / 10, 3.0), 10.0)


def exact_regimes(mixture: Array, other: Array, y: Array, weight: Array, *, single: bool = False) -> bool:
    """Whether a mixture has found regimes for certain, whatever a few rows next to a border make it lose.

    It answers half of the rows exactly, many more than a constant does, and does not lose by two standard errors:
    where rows next to a border decide, the squared error alone would be a draw of lots.

    Parameters
    ----------
    mixture, other : ndarrays of shape (n,)
        Squared errors of held-out rows.
    y, weight : ndarrays of shape (n,)
    single : bool
        The other knows of no regimes: if it is exact as often, there are none to find.

    Examples
    --------
    >>> y, ones = np.tile([-5.0, 5.0], 20), np.ones(40)
    >>> exact_regimes(np.append(np.zeros(39), 100.0), np.full(40, 2.0), y, ones)
    True
    """
    counts = weight > 0
    if not counts.any():
        return False
    mixture, other, y, weight = mixture[counts], other[counts], y[counts], weight[counts]
    # In units of the middle half of y: its tails would make anything exact.
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    tolerance = EXACT**2 * float(high - low) ** 2
    lost = paired(mixture - other, weight)
    if not tolerance > 0 or lost.mean > STANDARD_ERRORS * lost.standard_error:
        return False
    exact, theirs, trivial = (
        float(weight @ (loss <= tolerance) / weight.sum()) for loss in (mixture, other, np.square(y - middle))
    )
    return exact >= EXACT_SHARE and exact - trivial >= EXACT_GAIN and (exact > theirs or not single)


def regimes_pay(mixture: Array, single: Array, data: Problem) -> bool:
    """Whether a mixture answers better than a single expert, or has regimes that the squared error hides.

    Of one target: a few rows next to a border may hide what all others show.

    Parameters
    ----------
    mixture, single : ndarrays of shape (n,)
        Losses of held-out rows.
    data : Problem
        Of those rows.

    Examples
    --------
    >>> exact, near = np.append(np.zeros(39), 100.0), np.full(40, 2.0)
    >>> regimes_pay(exact, near, Problem(None, np.tile([-5.0, 5.0], 20)))
    True
    >>> regimes_pay(exact, near, Problem(None, np.tile([0, 1], 20), n_classes=2))
    False
    """
    y, weight = data.y, data.weight
    if weight @ mixture < weight @ single:
        return True
    if data.n_classes is not None or data.n_targets is not None:
        return False
    if exact_regimes(mixture, single, y, weight, single=True):
        return True
    lost = paired(mixture - single, weight)
    closer = nearer(single, mixture, weight, NEAR**2 * float(np.var(y[weight > 0]))) > 1
    return closer and lost.mean < STANDARD_ERRORS * lost.standard_error


def nearer(one: Array, other: Array, weight: Array, exact: float) -> float:
    """How far other answers are nearer to the truth than these, in standard errors of the paired difference.

    By squared errors or, counted half, by their logarithm: where regimes are exact, a few rows next to a border rule
    the former.

    Parameters
    ----------
    one, other : ndarrays of shape (n,)
        Squared errors.
    weight : ndarray of shape (n,)
    exact : float
        Squared errors below this are as good as each other.

    Examples
    --------
    >>> errors, exact = np.full(32, 4.0), np.full(32, 1e-4)
    >>> exact[0] = 400.0
    >>> nearer(errors, exact, np.ones(32), 1e-4) > 1, bool(errors.mean() < exact.mean())
    (True, True)
    """
    plain = paired(one - other, weight)
    exact = max(exact, np.finfo(float).tiny)  # a constant target leaves no room for errors at all
    logs = paired(np.log(one + exact) - np.log(other + exact), weight)
    found = [gain.mean / gain.standard_error if gain.standard_error > 0 else 0.0 for gain in (plain, logs)]
    return max(found[0], found[1] / STANDARD_ERRORS)


def target_units(data: Problem) -> Array:
    """Standard deviation (T,) of each target, 1 where it is constant; (1,) for a single one, losses keep its unit.

    Examples
    --------
    >>> target_units(Problem(None, np.array([[1.0, 10.0], [3.0, 30.0]])))
    array([ 1., 10.])
    """
    if data.n_targets is None:
        return np.ones(1)
    centre = np.average(data.y, axis=0, weights=data.weight)
    spread = np.sqrt(np.average((data.y - centre) ** 2, axis=0, weights=data.weight))
    return np.where(spread > 0, spread, 1.0)


def row_losses(data: Problem, values: Array, units: Array) -> Array:
    """Loss (n, K) of each answer: squared error, averaged over targets in their units (T,), or clipped log-loss.

    Examples
    --------
    >>> row_losses(Problem(None, np.array([1.0, 2.0])), np.array([[1.0], [4.0]]), np.ones(1))
    array([[0.],
           [4.]])
    """
    if data.n_classes is not None:
        return np.asarray(-np.log(np.clip(values[np.arange(data.n), :, data.y], CLIP, 1)))
    if data.n_targets is None:
        return np.asarray(np.square(values - data.y[:, None]))
    return np.asarray(np.square((values - data.y[:, None]) / units).mean(axis=2))
