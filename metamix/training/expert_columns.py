"""The experts as columns: out-of-fold predictions of each, and each fitted on all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from metamix.data.folds import Folds
from metamix.fitting import FitSession
from metamix.fitting.out_of_fold import OutOfFold
from metamix.training.mixture import fold_averages

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
    """

    positions: list[int]
    predictions: OutOfFold
    columns: list[Any]


def cross_fit_experts(session: FitSession, *, refit: bool = True) -> CrossFittedExperts:
    """Out-of-fold predictions of every expert, and each fitted on all rows.

    Raises
    ------
    AllExpertsFailedError
        If none is left.
    """
    positions, predictions = session.cross_fit(keep=not refit)
    if not refit:
        return CrossFittedExperts(positions, predictions, fold_averages(session, predictions))
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
    return replace(experts, predictions=session.cross_fit_nested(experts.predictions, experts.positions, nested))
