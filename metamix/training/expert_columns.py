"""The experts as columns: out-of-fold predictions of each, and each fitted on all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from metamix.data.folds import Folds
from metamix.deadline import EARLY_RESERVE
from metamix.fitting import AllExpertsFailedError, FitSession
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.training.expert_seconds import seconds_of_fits

__all__ = ["CrossFittedExperts", "cross_fit_experts", "nest_experts"]


@dataclass(frozen=True)
class CrossFittedExperts:
    """Experts with their out-of-fold predictions, and fitted on all rows.

    Parameters
    ----------
    positions : list of int
        Experts of the session that failed nowhere.
    predictions : OutOfFold
    columns : list of FittedExpert or FoldAverage
    left_out : list of str
        Names of experts for which there was no time, and of those that were given up.
    """

    positions: list[int]
    predictions: OutOfFold
    columns: list[Any]
    left_out: list[str] = field(default_factory=list)


def cross_fit_experts(session: FitSession, *, refit: bool = True) -> CrossFittedExperts:
    """Out-of-fold predictions of every expert, and each fitted on all rows.

    With a time limit they are fitted one after the other, those that take the least time first, as long as the next
    one is expected to be done in time. The first is fitted whatever it takes.

    Raises
    ------
    AllExpertsFailedError
        If none is left.
    """
    limited = session.deadline.limited
    emit(Event("part", "experts", total=len(session.experts) * (len(session.folds) + refit + limited)))
    if not limited:
        together = _cross_fit(session, None, refit)
        return replace(together, left_out=session.given_up)
    deadline, seconds = session.deadline, seconds_of_fits(session)
    share = sum(len(train) for train, _ in session.folds.pairs) / (len(session.folds) * session.problem.n)
    rounds = math.ceil(len(session.folds) / session.n_workers) * share + refit
    found: list[CrossFittedExperts] = []
    failures: list[Failure] = []
    left_out = []
    for e in np.argsort(seconds, kind="stable").tolist():
        name = session.experts[e].name
        if found and not deadline.allows(f"the expert {name}", rounds * seconds[e], EARLY_RESERVE):
            left_out.append(name)
            continue
        try:
            found.append(_cross_fit(session, [e], refit))
        except AllExpertsFailedError as error:
            failures += error.failures
    if not found:
        session.raise_all_failed(failures)
    found.sort(key=lambda one: one.positions)
    predictions = reduce(OutOfFold.join, [one.predictions for one in found])
    return CrossFittedExperts(
        [e for one in found for e in one.positions],
        replace(predictions, failures=[*predictions.failures, *failures]),
        [column for one in found for column in one.columns],
        [*left_out, *session.given_up],
    )


def _cross_fit(session: FitSession, which: list[int] | None, refit: bool) -> CrossFittedExperts:
    """Some experts of the session, all by default, out of fold and on all rows."""
    kept, predictions = session.cross_fit(which, keep=not refit)
    positions = kept if which is None else [which[j] for j in kept]
    if not refit:
        return CrossFittedExperts(positions, predictions, session.fold_averages(predictions))
    fitted, failures = session.fit_all(positions)
    predictions = predictions.take(list(fitted))
    predictions = replace(predictions, failures=[*predictions.failures, *failures])
    return CrossFittedExperts([positions[j] for j in fitted], predictions, list(fitted.values()))


def nest_experts(
    session: FitSession, experts: CrossFittedExperts, nested: Sequence[Folds | None]
) -> CrossFittedExperts:
    """The experts with predictions from inside the folds.

    Raises
    ------
    NestedFitError
        If a fit fails.
    """
    emit(Event("part", "nested experts"))
    return replace(experts, predictions=session.cross_fit_nested(experts.predictions, experts.positions, nested))
