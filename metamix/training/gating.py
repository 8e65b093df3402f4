"""Learning a gate out of fold: the path of penalties, the one-standard-error rule, the constant fallback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.recombination import posterior
from metamix.training.objectives import LogScore, SquaredError

__all__ = [
    "PENALTIES",
    "LearnedGate",
    "Lesson",
    "begins",
    "fit_on_responsibilities",
    "learn_gate",
    "one_standard_error",
]

Array = NDArray[np.float64]
Objective = LogScore | SquaredError

# Penalty on the slopes of standardised columns, in units of the mean loss of constant weights; the path
# ends in infinity, which is constant stacking.
PENALTIES = (np.inf, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
# A classifier may be quite sure out of fold and wrong, which a log score never forgives.
FLOOR = 1e-3
# A penalty is one number and a gate has few parameters: beyond these many rows more change nothing.
PATH_ROWS, GATE_ROWS = 5_000, 200_000
# Weak penalties take most of the time and are tried, two at a time, only while the weakest so far is the best.
FIRST, MORE = 6, 2


@dataclass(frozen=True)
class LearnedGate:
    """A gate fitted on every honest row, and what it said out of fold.

    Parameters
    ----------
    gate : fitted gate
    weights : ndarray of shape (n, K)
        Out of fold; the constant weights where no fold could learn a gate honestly.
    judged : ndarray of bool, shape (n,)
        Rows whose weights are out of fold.
    penalty : float or None
        What the path chose.
    members : tuple of fitted gates
        One for each fold that could learn, where they can be descended from again.
    """

    gate: Any
    weights: Array
    judged: NDArray[np.bool_]
    penalty: float | None
    members: tuple[Any, ...] = ()


def one_standard_error(losses: Array, sample_weight: Array) -> int:
    """The simplest of several fits that is not worse than the best by more than a standard error.

    Parameters
    ----------
    losses : ndarray of shape (n, P)
        Row losses of P fits, the simplest first.
    sample_weight : ndarray of shape (n,)
        Zero for rows that do not count; 0 is returned where none does.

    Returns
    -------
    int
        The first column whose mean exceeds the smallest by at most one standard error of the *paired*
        difference (Breiman et al. 1984, with pairs instead of raw losses, since the rows are the same).

    Examples
    --------
    >>> rows = np.array([[1.0, 0.9], [1.0, 1.05], [1.0, 1.0]])
    >>> one_standard_error(rows, np.ones(3))
    0
    """
    if not sample_weight.any():
        return 0
    share = sample_weight / sample_weight.sum()
    best = int(np.argmin(share @ losses))
    for simpler in range(best):
        excess = losses[:, simpler] - losses[:, best]
        gap = float(share @ excess)
        excess -= gap
        if gap <= np.sqrt(np.square(share) @ np.square(excess)):
            return simpler
    return best


def _fits(
    gate: Any,
    Z: Any,
    objective: Objective,
    penalties: Sequence[float | None],
    start: Array,
    sample_weight: Array,
    begin: Any = None,
) -> list[Any]:
    """One fitted gate for each penalty, from strong to weak, each begun where the last one ended if it can."""
    if hasattr(gate, "fit_path") and (len(penalties) > 1 or begin is not None):
        more = {} if begin is None else {"begin": begin}
        return list(clone(gate).fit_path(Z, objective, penalties, start=start, sample_weight=sample_weight, **more))
    fitted = []
    for penalty in penalties:
        one = clone(gate) if penalty is None else clone(gate).set_params(penalty=penalty)
        fitted.append(one.fit_objective(Z, objective, start=start, sample_weight=sample_weight))
    return fitted


def begins(gate: Any) -> bool:
    """Whether a gate descends from where another one ended, and can be sharpened."""
    return hasattr(gate, "fit_path") and hasattr(gate, "reweight")


def _rows_to_learn(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]


def learn_gate(
    gate: Any,
    constant: Any,
    Z: Any,
    folds: Folds,
    objective: Objective,
    log_prob: Array,
    sample_weight: Array,
    *,
    penalty: float | None = None,
    begin: LearnedGate | None = None,
    top: Callable[[Array], Array] = lambda weights: weights,
) -> LearnedGate:
    """Fit a gate to answers that are already out of fold, and judge it out of fold too.

    A gate with ``penalty="path"`` takes the largest penalty within one standard error of the best. Any
    other gate is ranked against constant weights by the same rule, unless its penalty is fixed by a number.

    Parameters
    ----------
    gate : gate
        Unfitted. With `fit_objective` it descends on `objective`; without, it learns responsibilities.
    constant : gate
        Unfitted; gives the weights that everything starts from and falls back on.
    Z : array, sparse matrix or frame, n rows
        Gate features.
    folds : Folds
    objective : objective over all n rows
    log_prob : ndarray of shape (n, K)
        Log density of each expert's answer, for gates that learn responsibilities.
    sample_weight : ndarray of shape (n,)
    penalty : float, optional
        Take this one of the path.
    begin : LearnedGate, optional
        Take its penalty, and descend from it where the gate can: the same answers with other scales.
    top : callable
        What is done to weights before they are judged: keep the k largest.

    Returns
    -------
    LearnedGate
    """
    K = log_prob.shape[1]
    if K == 1:
        one = clone(constant).fit(np.empty((1, 0)), np.ones((1, 1)))
        return LearnedGate(one, np.ones((folds.n, 1)), folds.held_out.copy(), None)
    lesson = Lesson(gate, constant, Z, folds, objective, log_prob, sample_weight)
    penalty = penalty if begin is None else begin.penalty
    members: tuple[Any, ...] = () if begin is None or penalty is None else begin.members
    if getattr(gate, "penalty", None) == "path" and penalty is None:
        penalty, members = lesson.choose(top)
    if penalty is not None and np.isinf(penalty):
        constants, judged = lesson.constants()
        return LearnedGate(lesson.overall, constants, judged, penalty)
    weights, judged, members = lesson.out_of_fold(penalty, members, trained=begin is None)
    if penalty is None and not isinstance(getattr(gate, "penalty", None), int | float):
        constants, _ = lesson.constants()
        losses = np.column_stack([objective(top(one))[0] for one in (constants, weights)])
        losses[~judged] = 0.0  # rows never held out have no loss: NaN times a weight of zero would be NaN
        if one_standard_error(losses, np.where(judged, sample_weight, 0.0)) == 0:
            return LearnedGate(lesson.overall, constants, judged, None)
    return LearnedGate(lesson.final(penalty, members), weights, judged, penalty, members)


class Lesson:
    """One gate, what it is taught and on which rows."""

    def __init__(
        self, gate: Any, constant: Any, Z: Any, folds: Folds, objective: Objective, log_prob: Array, weight: Array
    ) -> None:
        self.gate, self.constant, self.Z, self.folds = gate, constant, Z, folds
        self.objective, self.log_prob, self.weight = objective, log_prob, weight
        self.descends = hasattr(gate, "fit_objective")
        self.held_out = np.flatnonzero(folds.held_out)
        self.overall = self._level(self.held_out)
        self.responsibilities: Array | None = None

    def _open(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows to learn from and rows to judge, of every fold that has enough of both."""
        for f in range(len(self.folds)):
            rows, test = self.folds.train_rows(f), self.folds.test_rows(f)
            if len(rows) >= 2 * self.log_prob.shape[1] and len(test) and self.weight[rows].any():
                yield rows, test

    def _blank(self) -> tuple[Array, NDArray[np.bool_]]:
        return np.tile(self._weights(self.overall), (self.folds.n, 1)), np.zeros(self.folds.n, dtype=bool)

    def constants(self) -> tuple[Array, NDArray[np.bool_]]:
        """Constant weights (n, K), learned on the other folds, and which rows are out of fold (n,)."""
        weights, judged = self._blank()
        for rows, test in self._open():
            weights[test], judged[test] = self._weights(self._level(_rows_to_learn(rows, GATE_ROWS))), True
        return weights, judged

    def choose(self, top: Callable[[Array], Array]) -> tuple[float, tuple[Any, ...]]:
        """The penalty of the path, and the gate of each fold that was taught with it."""
        counts, losses = self.weight, np.empty((self.folds.n, 0))
        paths: list[list[Any]] = [[] for _ in self._open()]
        while losses.shape[1] < len(PENALTIES):
            tried = losses.shape[1]
            penalties = PENALTIES[tried : tried + (MORE if tried else FIRST)]
            if tried and int(np.argmin(counts @ losses)) < tried - 1:
                break
            more, judged = self._losses(penalties, top, paths)
            losses, counts = np.hstack([losses, more]), np.where(judged, self.weight, 0.0)
        chosen = one_standard_error(losses, counts)
        return PENALTIES[chosen], tuple(path[chosen] for path in paths) if begins(self.gate) else ()

    def _losses(
        self, penalties: Sequence[float], top: Callable[[Array], Array], paths: list[list[Any]]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Out-of-fold loss (n, P) of each penalty; weights are not kept, which would take P tables."""
        losses, judged = np.zeros((self.folds.n, len(penalties))), np.zeros(self.folds.n, dtype=bool)
        for path, (rows, test) in zip(paths, self._open(), strict=True):
            rows = _rows_to_learn(rows, PATH_ROWS)
            Z_test, objective = take_rows(self.Z, test), self.objective.take(test)
            begin = path[-1] if path and begins(self.gate) else None
            path += self._taught(rows, penalties, self._level(rows), begin)
            for p, fitted in enumerate(path[-len(penalties) :]):
                losses[test, p] = objective(top(fitted.predict_proba(Z_test)))[0]
            judged[test] = True
        return losses, judged

    def out_of_fold(
        self, penalty: float | None, members: tuple[Any, ...] = (), *, trained: bool = False
    ) -> tuple[Array, NDArray[np.bool_], tuple[Any, ...]]:
        """The gate's weights (n, K) out of fold, for which rows (n,), and the gate of each fold.

        `members` are gates of the folds to descend from; `trained` says that they are the answer.
        """
        weights, judged = self._blank()
        fitted: list[Any] = []
        # A gate that learns soft labels needs a few rounds of them; each is out of fold, so they stay soft.
        for _ in range(1 if self.descends else 3):
            if not self.descends:
                self.responsibilities = posterior(weights, self.log_prob)[0]
            for f, (rows, test) in enumerate(self._open()):
                begin = members[f] if members else None
                if begin is None or not trained or len(rows) > PATH_ROWS:
                    rows = _rows_to_learn(rows, GATE_ROWS) if self.descends else rows
                    level = self._level(rows) if self.descends else None
                    begin = self._taught(rows, [penalty], level, begin)[0]
                fitted.append(begin)
                floor = 0.0 if self.descends else FLOOR
                given = begin.predict_proba(take_rows(self.Z, test))
                weights[test], judged[test] = (1 - floor) * given + floor / weights.shape[1], True
        return weights, judged, tuple(fitted) if begins(self.gate) and penalty is not None else ()

    def final(self, penalty: float | None, members: tuple[Any, ...] = ()) -> Any:
        """The gate, taught on every honest row, from where one of the folds ended."""
        rows = _rows_to_learn(self.held_out, GATE_ROWS) if self.descends else self.held_out
        return self._taught(rows, [penalty], self.overall, members[0] if members else None)[0]

    def _taught(
        self, rows: NDArray[np.intp], penalties: Sequence[float | None], level: Any, begin: Any = None
    ) -> list[Any]:
        if not self.descends:
            return [fit_on_responsibilities(self.gate, self.Z, self.responsibilities, self.weight, rows)]
        Z = self.Z if len(rows) == self.folds.n else take_rows(self.Z, rows)
        return _fits(self.gate, Z, self.objective.take(rows), penalties, self._weights(level), self.weight[rows], begin)

    def _level(self, rows: NDArray[np.intp]) -> Any:
        """Constant weights learned from some rows."""
        rows = _rows_to_learn(rows, GATE_ROWS)
        start = np.full(self.log_prob.shape[1], 1 / self.log_prob.shape[1])
        empty = np.empty((len(rows), 0))
        return clone(self.constant).fit_objective(
            empty, self.objective.take(rows), start=start, sample_weight=self.weight[rows]
        )

    def _weights(self, level: Any) -> Array:
        return np.asarray(level.predict_proba(np.empty((1, 0)))[0])


def fit_on_responsibilities(
    gate: Any,
    Z: Any,
    responsibilities: Array | None,
    sample_weight: Array,
    rows: NDArray[np.intp] | None = None,
) -> Any:
    """Fit a clone of a gate to soft labels on some rows: the M-step of classical EM."""
    assert responsibilities is not None
    if rows is None or len(rows) == len(responsibilities):
        return clone(gate).fit(Z, responsibilities, sample_weight=sample_weight)
    return clone(gate).fit(take_rows(Z, rows), responsibilities[rows], sample_weight=sample_weight[rows])
