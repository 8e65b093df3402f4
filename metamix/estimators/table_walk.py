"""The second way through a fit: the honest table of experts, plain mixture and stack, and its last gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.gate_features import GateFeatures, StackColumns
from metamix.data.tables import take_rows
from metamix.estimators.walks import Known, Learned, Side, averages, best_column
from metamix.fitting import FitSession, FittedExpert, FoldAverage, Problem
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.training.bending import bend_of
from metamix.training.pools import regimes_pay, row_losses, target_units
from metamix.training.selection import Table, select
from metamix.training.starts import Beginning, Scouting, scout

__all__ = ["Specialist", "fit_table"]

Array = NDArray[np.float64]

# Within an outer fold the plain mixture is cross-fitted on so many folds: every one costs a fit per component.
INNER_FOLDS = 2
# With few rows a fit costs little, and half of them would not show where regimes meet.
FEW_ROWS, MORE_FOLDS = 300, 4


@dataclass(frozen=True)
class Specialist:
    """The plain mixture as one more expert: how it begins, and how it is told.

    Parameters
    ----------
    how : Beginning
    features : GateFeatures
        What regimes are looked for in.
    gate : gate
        Unfitted, for cheap mixtures.
    single : callable
        From what is known to a fitted plain mixture of one regime, whose expert need not be fitted again.
    """

    how: Beginning
    features: GateFeatures
    gate: Any
    single: Callable[[Known], FittedExpert]


def fit_table(
    session: FitSession,
    n_experts: int,
    table: Table,
    refit: bool,
    stack_columns: StackColumns | None,
    specialist: Specialist | None = None,
    known: Known | None = None,
) -> Learned:
    """One honest table of experts, plain mixture and stack, and the last gate over it.

    Parameters
    ----------
    session : FitSession
        Open; its first `n_experts` entries are the experts, one more is the plain mixture.
    n_experts : int
    table : Table
        With everything but `answers` filled in.
    refit : bool
    stack_columns : StackColumns or None
        Encodes X for the stack, where it looks at X.
    specialist : Specialist, optional
        With it the plain mixture takes part.
    known : Known, optional

    Returns
    -------
    Learned
    """
    if known is None:
        alive, answers = session.cross_fit(list(range(n_experts)), keep=not refit)
        known = Known(session.folds, alive, answers, {})
    failures = list(known.answers.failures)
    if refit:
        known, more = _fitted_on_all(session, known)
        failures += more
        columns: list[Any] = [known.fitted[k] for k in known.alive]
    else:
        columns = averages(session, known.answers)
    answers, starts, n_regimes, history, certainty = known.answers, [], None, [], 0.0
    if specialist is not None:
        found = _specialised(session, n_experts, specialist, known, refit)
        failures += found.failures
        starts, n_regimes, history = found.starts, found.n_regimes, found.history
        if found.column is not None:
            answers, columns = answers.join(found.answers), [*columns, found.column]
            if table.top_k is None and session.data.n_classes is None:  # of the k largest the first may be all
                certainty = _certainty(session.data, found.gates)
    answers = replace(answers, failures=failures)
    table = table.with_answers(answers, len(known.alive), certainty)
    chosen = [select(one) for one in table.targets()]
    sides = [
        Side(one.learned.gate, one.likelihood, one.stacker, one.predictions, one.responsibilities, one, one.scatter)
        for one in chosen
    ]
    names = [*answers.names, "stack"]
    T = table.data.n_targets
    return Learned(names, columns, stack_columns, table.features, sides, T, history, failures, starts, n_regimes)


def _fitted_on_all(session: FitSession, known: Known) -> tuple[Known, list[Failure]]:
    """The same with every expert fitted on all rows; those that fail there are left out."""
    missing = [k for k in known.alive if k not in known.fitted]
    rest, failures = session.fit_all(missing, needed=False)
    fitted = {**known.fitted, **{missing[j]: one for j, one in rest.items()}}
    kept = [k for k in known.alive if k in fitted]
    if not kept:
        session.raise_all_failed([*known.answers.failures, *failures])
    answers = known.answers
    if kept != known.alive:
        answers = answers.take([known.alive.index(k) for k in kept])
    return Known(known.folds, kept, answers, {k: fitted[k] for k in kept}), failures


@dataclass
class _Specialised:
    """The plain mixture's column of the honest table, None where it failed, and the rounds of kept fold models."""

    answers: OutOfFold
    column: Any
    starts: list[dict[str, Any]]
    n_regimes: int | None
    failures: list[Failure]
    history: list[dict[str, Any]] = field(default_factory=list)
    gates: list[Any] = field(default_factory=list)  # fitted mixtures of several regimes


def _specialised(session: FitSession, which: int, specialist: Specialist, known: Known, refit: bool) -> _Specialised:
    """Cross-fit the plain mixture as a whole: where one regime is found, the best single expert answers for it."""
    folds, name = session.folds, session.entries[which].name
    scouted = _scouted(session, _bent(session, specialist, known))
    first, starts = scouted[-1]
    K = first.shape[1]
    params = {f: _told(session, f, first) for f, (first, _) in scouted.items()}
    several = [f for f in range(len(folds)) if scouted[f][0].shape[1] > 1]
    kept, found = session.cross_fit([which], keep=not refit, needed=False, only=several, params=params, remember=True)
    answers = found
    if kept:
        answers = _with_singles(session, known, several, found)
        # What regimes gain is judged by the experts' own answers, on rows that other folds held out.
        paying = [f for f in (*several, -1) if _pays(session, known, answers, f)]
        left = [f for f in several if f in paying]
        if len(left) < len(several):  # with repeats, means are taken over the folds that are left: no fit is repeated
            several = left
            _, found = session.cross_fit([which], keep=not refit, only=several, params=params)
        K = K if -1 in paying and several else 1
        answers = _with_singles(session, known, several, found)
    out = _Specialised(replace(answers, failures=[]), None, starts, K, list(found.failures))
    if not kept:
        out.n_regimes = None
        return out
    if not refit:
        members = []
        for f in range(len(folds)):
            source = answers.names[0] if f in several else known.answers.names[_single_of(session, known, f) or 0]
            members.append((found if f in several else known.answers).models[source, f])
        out.column = FoldAverage(name, members)
        out.gates = [members[f].model for f in several if hasattr(members[f].model, "gate_weights")]
        told = ((f, row) for f in several for row in _rounds(members[f].model))
        out.history = [{"fold": f, **row} for f, row in told]
    elif K == 1:
        out.column = replace(specialist.single(known), name=name)
    else:
        fitted, failures = session.fit_all([which], needed=False, params=params[-1])
        out.failures += failures
        out.column = fitted.get(0)
        out.gates = [] if out.column is None else [out.column.model]
    return out


def _certainty(data: Problem, gates: list[Any]) -> float:
    """Mean of the largest weights that gates of several regimes give to the rows that count."""
    rows = np.flatnonzero(data.weight)
    X, weight = take_rows(data.X, rows), data.weight[rows]
    largest = [gate.gate_weights(X).max(axis=1).reshape(len(rows), -1).mean(axis=1) for gate in gates]
    return float(np.average(np.mean(largest, axis=0), weights=weight)) if gates and len(rows) else 0.0


def _rounds(model: Any) -> list[dict[str, Any]]:
    """Rounds of a fold's mixture; none where its training rows had one class only."""
    return model.history_.to_dict("records") if hasattr(model, "history_") else []


def _bent(session: FitSession, specialist: Specialist, known: Known) -> Specialist:
    """The same with cheap experts that bend no further than the best single expert."""
    data, how = session.data, specialist.how
    rows = np.flatnonzero(session.folds.held_out & (data.weight > 0))
    if not how.mimics or not len(rows):
        return specialist
    best = best_column(session, known.answers, rows)
    losses = row_losses(data.take(rows), known.answers.values[rows, best : best + 1], target_units(data))[:, 0]
    base = specialist.features.base(data.X)
    bends = bend_of(data.X if base is None else base, data, session.folds, rows, losses, how.seed)
    return replace(specialist, how=replace(how, bends=bends))


def _scouted(session: FitSession, specialist: Specialist) -> dict[int, tuple[Array, list[dict[str, Any]]]]:
    """Where the mixture of each fold begins; -1 has all rows.

    How many regimes there are is asked once, of all rows: one number tells a fold next to nothing about the
    rows it holds out, and mixtures of like size are what the last gate can learn from.
    """

    def looked(where: list[int], how: Beginning) -> list[tuple[Array, list[dict[str, Any]]]]:
        jobs = [Scouting(f, specialist.features, specialist.gate, how) for f in where]
        return session.each(scout, jobs, [f"regimes, {'all rows' if f < 0 else f'fold {f}'}" for f in where])

    folds = list(range(len(session.folds)))
    (everywhere,) = looked([-1], specialist.how)
    K = everywhere[0].shape[1]
    if K == 1:
        return {-1: everywhere, **{f: (np.ones((len(session.folds.pairs[f][0]), 1)), []) for f in folds}}
    how = replace(specialist.how, n_experts=K)
    if not isinstance(how.start, str):  # the user's own, without regimes that starve
        how = replace(how, start=everywhere[0])
    return {-1: everywhere, **dict(zip(folds, looked(folds, how), strict=True))}


def _pays(session: FitSession, known: Known, answers: OutOfFold, f: int) -> bool:
    """Whether the mixture answers better than the best single expert, on the rows a fold may learn from (-1: all)."""
    folds = session.folds
    rows = np.flatnonzero(folds.held_out) if f < 0 else folds.train_rows(f)
    if not session.data.weight[rows].any():
        return True  # nothing to judge by: what was cross-fitted stays
    data = session.data.take(rows)
    best = best_column(session, known.answers, rows)
    both = np.stack([answers.values[rows, 0], known.answers.values[rows, best]], axis=1)
    loss = row_losses(data, both, target_units(session.data))
    return regimes_pay(loss[:, 0], loss[:, 1], data)


def _told(session: FitSession, f: int, first: Array) -> Mapping[str, Any]:
    """What the plain mixture is told in a fold, or for all rows (-1): folds and start of its rows."""
    data, counts = session.data, session.data.weight > 0
    if f < 0:
        inner = session.folds
    else:
        rows = session.folds.pairs[f][0]
        part, counts = data.take(rows), counts[rows]
        inner = session.folds.inside(f, part.X, part.y, part.groups)
    few = np.count_nonzero(data.weight) <= FEW_ROWS
    inner = inner.merged(MORE_FOLDS if few else INNER_FOLDS, counts)
    return {"cv": list(inner.pairs), "start": first, "n_experts": first.shape[1]}


def _single_of(session: FitSession, known: Known, f: int) -> int | None:
    """Column of the best single expert, on the rows that fold f may learn from; None where there are none."""
    rows = session.folds.train_rows(f)
    return best_column(session, known.answers, rows) if session.data.weight[rows].any() else None


def _with_singles(session: FitSession, known: Known, several: list[int], found: OutOfFold) -> OutOfFold:
    """The mixture's answers, with those of the best single expert for folds that have one regime."""
    folds = session.folds
    values = np.nan_to_num(found.values)
    scale = None if found.scale is None and known.answers.scale is None else np.full(values.shape, np.nan)
    if scale is not None and found.scale is not None:
        scale[:] = found.scale
    times = np.zeros(folds.n)
    for f in several:
        times[folds.pairs[f][1]] += 1
    shape = (-1,) + (1,) * (values.ndim - 1)
    values *= times.reshape(shape)
    for f in set(range(len(folds))) - set(several):
        test, best = folds.pairs[f][1], _single_of(session, known, f)
        given = known.answers.values[test]
        # Where no row says who is best, as before the first fold of a time series, all are asked.
        values[test, 0] += given.mean(axis=1) if best is None else given[:, best]
        times[test] += 1
        if scale is not None:
            own = None if best is None else known.answers.scale
            # A row that was held out more often keeps the mean of its deviations.
            several_own = (times[test] > 1).reshape((-1,) + (1,) * (values.ndim - 2))
            single_own = np.nan if own is None else own[test, best]
            scale[test, 0] = np.where(several_own, scale[test, 0], single_own)
    with np.errstate(invalid="ignore"):
        return replace(found, values=values / times.reshape(shape), scale=scale)
