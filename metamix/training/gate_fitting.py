"""Gates fitted and judged out of fold: a path of penalties, and several gates as candidates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.deadline import Deadline
from metamix.protocols import ContinuedPathGate, PathGate, SequentialGate
from metamix.recombination import floored, keep_top, posterior
from metamix.training.losses import Deviance, LogScore, SquaredError
from metamix.training.selection import simplest

__all__ = ["FittedGate", "GateFitting", "fit_responsibilities", "select_gate"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Objective = Deviance | LogScore | SquaredError

#: Penalties on the slopes of standardised columns, in units of the mean loss of constant weights. From the solution at
#: the penalty chosen the path goes on, with columns of small slopes penalised more (adaptive ridge), in steps of ten.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
SMALLEST_PENALTY = 1e-7
#: Weak penalties take most of the time: they are tried two at a time, while the weakest so far is the best.
FIRST_PENALTIES, MORE_PENALTIES = 5, 2
#: A penalty is one number and a gate has few parameters: more rows than these do not change them.
PATH_ROWS, GATE_ROWS = 5_000, 200_000
#: Share of the uniform distribution in the out-of-fold weights of a gate that is fitted to responsibilities: a
#: classifier may answer zero where it is wrong, and the log score of that is infinite.
FLOOR = 1e-3
#: With a time limit, a gate that minimises no objective is expected to take so many times what all before it took: the
#: forest took 7 to 8 times as long on 5,000 rows, the Gaussian gate less.
SLOWER = 8
#: Rounds of responsibilities and gate, for a gate that is fitted to responsibilities in every round of the mixture.
LABEL_ROUNDS = 3


@dataclass(frozen=True)
class FittedGate:
    """A gate fitted on every held-out row, and its weights out of fold.

    Parameters
    ----------
    gate : fitted gate
    weights : ndarray of shape (n, K)
        Out of fold; constant weights where no fold could fit a gate.
    judged : ndarray of bool, shape (n,)
        Rows whose weights are out of fold.
    penalty : float or None
        The one chosen from the path.
    members : tuple of fitted gates
        One for each fold, where the fit can be continued from them.
    """

    gate: Any
    weights: Array
    judged: NDArray[np.bool_]
    penalty: float | None = None
    members: tuple[Any, ...] = ()


@dataclass
class GateFitting:
    """Everything a gate is fitted to and judged by.

    Parameters
    ----------
    Z : array, sparse matrix or frame, n rows
        Gate features.
    folds : Folds
        Of the second level: predictions are out of fold already, and so shall the weights be.
    objective : objective over all n rows
        What a differentiable gate minimises.
    log_prob : ndarray of shape (n, K)
        Log density of y under each expert, from which responsibilities follow for the other gates.
    weight : ndarray of shape (n,)
        Sample weights.
    constant : gate
        Unfitted; gives the constant weights that a descent starts from.
    judge : objective over all n rows, optional
        What gates are compared by; the objective they minimise by default.
    top_k : int or None
        Weights kept per row when gates are compared.
    labels : ndarray of shape (n, K), optional
        Responsibilities that gates without `fit_objective` are fitted to; without, they follow from the weights and
        `log_prob` in a few rounds.
    groups : ndarray of shape (n,) or None
    inside : sequence of GateFitting, optional
        For each fold, what a gate is fitted to that is judged on this fold: the same from predictions of models that
        have not seen the rows that it holds out. By default every gate is fitted to what it is judged by.
    known : ndarray of bool, shape (n,), optional
        Rows that have predictions; by default all that are held out.
    """

    Z: Any
    folds: Folds
    objective: Objective
    log_prob: Array
    weight: Array
    constant: Any
    judge: Objective | None = None
    top_k: int | None = None
    labels: Array | None = None
    groups: NDArray[Any] | None = None
    inside: Sequence[GateFitting] | None = None
    known: NDArray[np.bool_] | None = None

    @cached_property
    def _held_out(self) -> Rows:
        return np.flatnonzero(self.folds.held_out)

    @cached_property
    def _overall(self) -> Array:
        """Constant weights (K,) fitted on every held-out row."""
        return self._constant_weights(self._held_out)

    @property
    def n_experts(self) -> int:
        """K."""
        return self.log_prob.shape[1]

    def losses(self, fitted: FittedGate) -> Array:
        """Losses (n,) of the out-of-fold weights, zero where there are none."""
        loss = (self.judge or self.objective)(keep_top(fitted.weights, self.top_k))[0]
        return np.where(fitted.judged & (self.weight > 0), loss, 0.0)

    def best(self, candidates: Sequence[FittedGate]) -> FittedGate:
        """The simplest within 1.75 standard errors of the best, of fitted gates, the simplest first."""
        judged = np.logical_and.reduce([one.judged for one in candidates])
        losses = np.column_stack([self.losses(one) for one in candidates])
        return candidates[simplest(losses, np.where(judged, self.weight, 0.0), self.groups)]

    def fit_constant(self) -> FittedGate:
        """Constant weights: those with the smallest mean objective, fitted on the other folds."""
        weights, judged = self._blank()
        for f, rows, test in self._open():
            weights[test], judged[test] = self._for_fold(f)._constant_weights(_subset(rows, GATE_ROWS)), True
        gate = self._constant_gate(_subset(self._held_out, GATE_ROWS))
        return FittedGate(gate, weights, judged, np.inf)

    def fit(self, gate: Any, start: FittedGate | None = None) -> FittedGate:
        """Fit a gate out of fold, and on every held-out row.

        Parameters
        ----------
        gate : gate
            Unfitted. A `PathGate` whose penalty is "path" takes the largest penalty within 1.75 standard
            errors of the best. One with `fit_objective` minimises the objective, a `SequentialGate` learns from row to
            row, others are fitted to responsibilities.
        start : FittedGate, optional
            The same gate fitted before to other scales of the same predictions: its penalty is taken, and the fit
            continues from it.

        Returns
        -------
        FittedGate
        """
        if self.n_experts == 1:
            one = clone(self.constant).fit(np.empty((1, 0)), np.ones((1, 1)))
            return FittedGate(one, np.ones((self.folds.n, 1)), self.folds.held_out.copy())
        if isinstance(gate, SequentialGate):
            return self._follow(gate)
        if not hasattr(gate, "fit_objective"):
            return self._fit_to_responsibilities(gate)
        if start is not None:
            return self._fit_to_objective(gate, start.penalty, start.members, continued=False)
        if _has_path(gate):
            penalty, members = self._choose_penalty(gate)
            return self._fit_to_objective(gate, penalty, members, continued=True)
        return self._fit_to_objective(gate, None, ())

    def refine(self, gate: Any, fitted: FittedGate) -> FittedGate:
        """Continue the path of a fitted gate towards weaker, adaptive penalties, as far as that pays.

        Where regimes have a sharp border, the penalty within 1.75 standard errors leaves the gate too soft,
        and the slopes of columns of no use tilt it. Candidates are the given gate and the penalties below its own, a
        tenth each time, while the loss falls.
        """
        if not (_has_path(gate) and isinstance(gate, ContinuedPathGate) and fitted.members):
            return fitted
        assert fitted.penalty is not None
        candidates, penalty = [fitted], fitted.penalty / 10
        final, members = fitted.gate, fitted.members
        while penalty >= SMALLEST_PENALTY:
            weights, judged, members = self._out_of_fold(gate, penalty, members, adaptive=True)
            final = self._final(gate, penalty, final, adaptive=True)
            candidates.append(FittedGate(final, weights, judged, penalty, members))
            before, after = (self.weight @ self.losses(one) for one in candidates[-2:])
            if after >= before:
                break
            penalty /= 10
        return self.best(candidates)

    def minimising(self, objective: Objective) -> GateFitting:
        """The same fitting to another objective; gates are judged as before."""
        assert self.inside is None, "each fold would need an objective of its own"
        return replace(self, objective=objective, judge=self.judge or self.objective)

    def _for_fold(self, f: int) -> GateFitting:
        """What a gate is fitted to that is judged on fold f."""
        return self if self.inside is None else self.inside[f]

    def _open(self) -> Iterator[tuple[int, Rows, Rows]]:
        """Fold, rows to fit and rows to judge, of every fold that has enough of both."""
        for f in range(len(self.folds)):
            rows, test, known = self.folds.train_rows(f), self.folds.test_rows(f), self._for_fold(f).known
            rows = rows if known is None else rows[known[rows]]
            if len(rows) >= 2 * self.n_experts and len(test) and self.weight[rows].any():
                yield f, rows, test

    def _blank(self) -> tuple[Array, NDArray[np.bool_]]:
        return np.tile(self._overall, (self.folds.n, 1)), np.zeros(self.folds.n, dtype=bool)

    def _constant_gate(self, rows: Rows) -> Any:
        start = np.full(self.n_experts, 1 / self.n_experts)
        return clone(self.constant).fit_objective(
            np.empty((len(rows), 0)), self.objective.take(rows), start=start, sample_weight=self.weight[rows]
        )

    def _constant_weights(self, rows: Rows) -> Array:
        """Constant weights (K,) fitted on some rows."""
        if self.n_experts == 1:
            return np.ones(1)
        return np.asarray(self._constant_gate(_subset(rows, GATE_ROWS)).predict_proba(np.empty((1, 0)))[0])

    def _choose_penalty(self, gate: PathGate) -> tuple[float, tuple[Any, ...]]:
        """The penalty of the path, and the gate of each fold fitted with it."""
        folds = [(f, _subset(rows, PATH_ROWS), test) for f, rows, test in self._open()]
        paths: list[list[Any]] = [[] for _ in folds]
        judge = self.judge or self.objective
        losses, counts = np.empty((self.folds.n, 0)), np.zeros(self.folds.n)
        for _, _, test in folds:
            counts[test] = self.weight[test]
        while losses.shape[1] < len(PENALTIES):
            tried = losses.shape[1]
            if tried and int(np.argmin(counts @ losses)) < tried - 1:
                break
            penalties = PENALTIES[tried : tried + (MORE_PENALTIES if tried else FIRST_PENALTIES)]
            more = np.zeros((self.folds.n, len(penalties)))
            for path, (f, rows, test) in zip(paths, folds, strict=True):
                path += self._for_fold(f)._fit_path(gate, rows, penalties, path[-1] if path else None)
                for p, one in enumerate(path[-len(penalties) :]):
                    given = one.predict_proba(take_rows(self.Z, test))
                    more[test, p] = judge.take(test)(keep_top(given, self.top_k))[0]
            losses = np.hstack([losses, more])
        chosen = simplest(losses, counts, self.groups)
        return PENALTIES[chosen], tuple(path[chosen] for path in paths)

    def _fit_to_objective(
        self, gate: Any, penalty: float | None, members: tuple[Any, ...], *, continued: bool = False
    ) -> FittedGate:
        """`continued`: the members are fitted with this penalty already, unless on a part of their rows."""
        weights, judged, members = self._out_of_fold(gate, penalty, members, fitted=continued)
        final = self._final(gate, penalty, members[0] if members else None)
        return FittedGate(final, weights, judged, penalty, members)

    def _out_of_fold(
        self,
        gate: Any,
        penalty: float | None,
        members: tuple[Any, ...],
        *,
        adaptive: bool = False,
        fitted: bool = False,
    ) -> tuple[Array, NDArray[np.bool_], tuple[Any, ...]]:
        """Weights (n, K) out of fold, for which rows (n,), and the gate of each fold, continued from `members`."""
        weights, judged = self._blank()
        found: list[Any] = []
        for i, (f, rows, test) in enumerate(self._open()):
            one = members[i] if members else None
            if one is None or not fitted or len(rows) > PATH_ROWS:
                rows = _subset(rows, GATE_ROWS)
                one = self._for_fold(f)._fit_path(gate, rows, [penalty], one, adaptive=adaptive)[0]
            found.append(one)
            weights[test], judged[test] = one.predict_proba(take_rows(self.Z, test)), True
        return weights, judged, tuple(found) if penalty is not None else ()

    def _final(self, gate: Any, penalty: float | None, start: Any, *, adaptive: bool = False) -> Any:
        """The gate fitted on every held-out row."""
        return self._fit_path(gate, _subset(self._held_out, GATE_ROWS), [penalty], start, adaptive=adaptive)[0]

    def _fit_path(
        self, gate: Any, rows: Rows, penalties: Sequence[float | None], start: Any, *, adaptive: bool = False
    ) -> list[Any]:
        """One fitted gate for each penalty, from strong to weak; None is the gate as it is."""
        Z = self.Z if len(rows) == self.folds.n else take_rows(self.Z, rows)
        objective, weight = self.objective.take(rows), self.weight[rows]
        if start is not None and penalties[0] is not None and isinstance(gate, ContinuedPathGate):
            return list(clone(gate).continue_path(Z, objective, penalties, start, weight, adaptive=adaptive))
        level = self._constant_weights(rows)
        if penalties[0] is None:
            return [clone(gate).fit_objective(Z, objective, start=level, sample_weight=weight)]
        return list(clone(gate).fit_path(Z, objective, penalties, start=level, sample_weight=weight))

    def _follow(self, gate: Any) -> FittedGate:
        """Weights before each held-out row, in the order of the rows; the gate is what follows from the last one."""
        weights, judged = self._blank()
        rows, final = self._held_out, clone(gate)
        weights[rows] = final.follow((self.objective.take([i]) for i in rows), sample_weight=self.weight[rows])
        judged[rows] = True
        return FittedGate(final, weights, judged)

    def _fit_to_responsibilities(self, gate: Any) -> FittedGate:
        """Responsibilities follow from the weights of the round before, which are out of fold."""
        weights, judged = self._blank()
        responsibilities = weights
        for _ in range(LABEL_ROUNDS if self.labels is None else 1):
            responsibilities = posterior(weights, self.log_prob)[0] if self.labels is None else self.labels
            for f, rows, test in self._open():
                fitted = self._for_fold(f)
                labels = responsibilities if fitted.labels is None else fitted.labels
                one = fit_responsibilities(gate, fitted.Z, labels, self.weight, rows)
                given = one.predict_proba(take_rows(self.Z, test))
                weights[test], judged[test] = floored(given, FLOOR), True
        final = fit_responsibilities(gate, self.Z, responsibilities, self.weight, self._held_out)
        return FittedGate(final, weights, judged)


def select_gate(
    fittings: Sequence[GateFitting],
    gates: Sequence[Any],
    *,
    constant: bool,
    known: FittedGate | None = None,
    refine: bool = True,
    deadline: Deadline | None = None,
) -> FittedGate:
    """The simplest gate within 1.75 standard errors of the best, fitted on every held-out row.

    Parameters
    ----------
    fittings : sequence of GateFitting
        They differ in the objective, and are judged alike. The first gate is fitted to each of them, if it can be;
        the others to the last.
    gates : sequence of gates
        Unfitted, the simplest first.
    constant : bool
        Whether constant weights are a candidate.
    known : FittedGate, optional
        The first gate, fitted to the first objective already.
    refine : bool
        Continue paths towards weaker, adaptive penalties; see `GateFitting.refine`.
    deadline : Deadline, optional
        After it no gate is begun, but for the first if there would be none.

    Returns
    -------
    FittedGate
    """
    first = fittings[0]
    deadline = Deadline() if deadline is None else deadline
    candidates: list[Any] = [first.fit_constant()] if constant else []
    began = time.monotonic()
    for gate in gates:
        slower = 1 if hasattr(gate, "fit_objective") else SLOWER
        if candidates and not deadline.allows("some of the gates", slower * (time.monotonic() - began)):
            break
        for fitting in fittings if gate is gates[0] and hasattr(gate, "fit_objective") else fittings[-1:]:
            is_known = gate is gates[0] and fitting is first
            fitted = known if known is not None and is_known else fitting.fit(gate)
            candidates += [fitted, fitting.refine(gate, fitted)] if refine else [fitted]
    return first.best(candidates)


def fit_responsibilities(
    gate: Any, Z: Any, responsibilities: Array, sample_weight: Array, rows: Rows | None = None
) -> Any:
    """A clone of a gate fitted to responsibilities (n, K) on some rows: the M-step of EM."""
    if rows is None or len(rows) == len(responsibilities):
        return clone(gate).fit(Z, responsibilities, sample_weight=sample_weight)
    return clone(gate).fit(take_rows(Z, rows), responsibilities[rows], sample_weight=sample_weight[rows])


def _has_path(gate: Any) -> bool:
    """Whether the penalty of a gate is to be chosen from a path."""
    return isinstance(gate, PathGate) and gate.penalty == "path"


def _subset(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, the same ones every time."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))])
