"""The way through a fit: experts out of fold, the mixture out of fold, candidates, blend and verdict, all rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from textwrap import shorten
from typing import Any

import numpy as np

from metamix.data.folds import Folds
from metamix.data.gate_features import StackColumns
from metamix.data.leaks import suspicious_columns
from metamix.deadline import EARLY_RESERVE, Deadline
from metamix.engines import Engine
from metamix.fitting import Checkpoint, FitSession, NamedExpert, NestedFitError, Problem
from metamix.fitting.out_of_fold import OutOfFold
from metamix.progress import Event, emit
from metamix.training.alternation import MixtureSettings
from metamix.training.blend import FittedBlend
from metamix.training.candidates import CandidateFit, CandidateSettings
from metamix.training.expert_columns import CrossFittedExperts, cross_fit_experts, nest_experts
from metamix.training.expert_seconds import affordable
from metamix.training.losses import row_losses, target_units
from metamix.training.mixture import FittedMixture, fit_mixture
from metamix.training.mixture_column import MixtureColumn, cross_fit_mixture
from metamix.training.prediction import admissible
from metamix.training.verdict import FAILED, NO_TIME, TOO_MANY_FITS, UNSEEN, UNSUITABLE

__all__ = [
    "NEGLIGIBLE", "blend_predictions", "fit_blend", "fit_combination", "fit_single_mixture",
]  # fmt: skip

#: Rows with no more responsibility than this are left out when an expert is fitted to a regime.
NEGLIGIBLE = 0.01
#: Of k folds that need it nesting takes k (k - 1) / 2 fits of every expert: with more folds than this it is left out.
MOST_NESTED_FOLDS = 20


def fit_blend(
    experts: Sequence[NamedExpert],
    problem: Problem,
    folds: Folds,
    engine: Engine,
    candidates: CandidateSettings,
    mixture: MixtureSettings | None,
    refit: bool = True,
    on_error: str = "drop",
    deadline: Deadline | None = None,
    checkpoint: Checkpoint | None = None,
) -> FittedBlend:
    """Experts out of fold → mixture out of fold → candidates, blend and verdict, with what has weight on all rows.

    Parameters
    ----------
    experts : sequence of NamedExpert
    problem : Problem
    folds : Folds
    engine : Engine
    candidates : CandidateSettings
    mixture : MixtureSettings or None
        None leaves the specialised mixture out.
    refit : bool
        Fit on all rows, or keep the fold models and average them.
    on_error : {"drop", "raise"}
    deadline : Deadline, optional
        Parts that a fit can do without are left out where they would not be done in time; it lists them.
    checkpoint : Checkpoint, optional

    Returns
    -------
    FittedBlend
    """
    deadline = Deadline() if deadline is None else deadline
    with FitSession(experts, problem, folds, engine, on_error, NEGLIGIBLE, deadline, checkpoint) as session:
        cross_fitted = cross_fit_experts(session, refit=refit)
        fitted = blend_predictions(session, cross_fitted, candidates, mixture, refit=refit)
    targets = [problem.target(t) for t in range(len(fitted.targets))]
    fitted = fitted.with_left_out(deadline.sentence)
    return fitted.with_leaks([suspicious_columns(one.X, one.y, classes=one.n_classes is not None) for one in targets])


def blend_predictions(
    session: FitSession,
    experts: CrossFittedExperts,
    candidates: CandidateSettings,
    mixture: MixtureSettings | None,
    *,
    refit: bool = True,
) -> FittedBlend:
    """Everything that follows from the experts' out-of-fold predictions; `compare` enters here.

    Where the candidates are within three standard errors of each other, what is learned from out-of-fold predictions
    is learned and judged once more, on predictions of the experts from inside the training rows of each fold. The
    mixture's column stays as it is: it was not flattered where that was measured, and nested fits cost as much as all
    others.
    """
    deadline, found = session.deadline, MixtureColumn()
    _emit_loss(session.problem, experts.predictions)
    if mixture is not None and deadline.allows("the specialised mixture", reserve=EARLY_RESERVE):
        found = cross_fit_mixture(session, experts, mixture, refit=refit)
    problem, folds = session.problem, session.folds
    _emit_loss(problem, _first_level(experts, found)[0])
    emit(Event("part", "candidates"))
    flat = _SecondLevel.of(problem, folds, *_first_level(experts, found), candidates, found, deadline)
    nested, impossible = _nested_folds(session)
    fitted, began = None, time.monotonic()
    # Gates take most of the time of this level: where other candidates are near each other, those of the flat table
    # would be fitted for nothing. A time limit wants an answer first.
    if impossible or deadline.limited or not flat.close():
        fitted, rivals = flat.fit()
        if not rivals:
            return fitted
        if impossible:
            return fitted.not_nested(impossible)
    if deadline.limited:
        expected = _seconds_to_nest(session, experts) + time.monotonic() - began
        if not deadline.allows("nested cross-validation", expected):
            assert fitted is not None
            return fitted.not_nested(NO_TIME)
    try:
        columns = _first_level(nest_experts(session, experts, nested), found)
        emit(Event("part", "nested candidates"))
        return _SecondLevel.of(problem, folds, *columns, candidates, found, deadline).fit()[0]
    except NestedFitError as error:
        fitted = flat.fit()[0] if fitted is None else fitted
        return fitted.not_nested(f"{FAILED} ({shorten(str(error), 150)})")


def _emit_loss(problem: Problem, table: OutOfFold) -> None:
    """An event with the smallest out-of-fold loss of a column."""
    losses = row_losses(problem, table.values, target_units(problem))
    judged = np.isfinite(losses).all(axis=1) & (problem.weight > 0)
    if not judged.any():
        return
    mean = np.average(losses[judged], axis=0, weights=problem.weight[judged])
    best = int(mean.argmin())
    what = "log-loss" if problem.n_classes is not None else "squared error"
    emit(Event("loss", table.names[best], detail={what: float(mean[best])}))


def _seconds_to_nest(session: FitSession, experts: CrossFittedExperts) -> float:
    """What nested fits will take, from what the fits of the folds took: of k folds each pair is left out once."""
    k = len(session.folds)
    share = (k - 2) / (k - 1) if k > 2 else 1.0  # of the rows of a fold's fit
    pairs = share * (k - 1) / 2
    return pairs * float(experts.predictions.fit_seconds.sum()) / session.n_workers


def _nested_folds(session: FitSession) -> tuple[tuple[Folds | None, ...], str]:
    """Folds within the folds, or why there are none."""
    problem, folds = session.problem, session.folds
    k = sum(folds.needs_nesting)
    if not k:
        return (), UNSEEN
    if folds.second_level(problem.y, problem.groups) is not folds:
        return (), UNSUITABLE
    if k > MOST_NESTED_FOLDS:
        return (), TOO_MANY_FITS.format(k * (k - 1) // 2)
    return folds.nested(problem.X, problem.y, problem.groups), ""


def _first_level(experts: CrossFittedExperts, mixture: MixtureColumn) -> tuple[OutOfFold, list[Any]]:
    """Out-of-fold predictions of experts and mixture, and the columns fitted on all rows."""
    table, columns = experts.predictions, list(experts.columns)
    failures = [*table.failures, *mixture.failures]
    if mixture.column is not None:
        table = table.join(mixture.predictions)
        columns.append(mixture.column)
    return replace(table, failures=failures), columns


def fit_combination(
    problem: Problem,
    folds: Folds,
    first_level: OutOfFold,
    columns: Sequence[Any],
    settings: CandidateSettings,
    mixture: MixtureColumn | None = None,
) -> FittedBlend:
    """Candidates, blend and verdict from out-of-fold predictions; `fit_predictions` enters here.

    Parameters
    ----------
    problem : Problem
    folds : Folds
    first_level : OutOfFold
        The experts, and last the mixture where there is one.
    columns : sequence of FittedExpert or FoldAverage
        Fitted on all rows, in the order of `first_level`; none where predictions are handed in.
    settings : CandidateSettings
    mixture : MixtureColumn, optional
    """
    mixture = MixtureColumn() if mixture is None else mixture
    return _SecondLevel.of(problem, folds, first_level, columns, settings, mixture).fit()[0]


@dataclass(frozen=True)
class _SecondLevel:
    """What is learned from out-of-fold predictions: a `CandidateFit` for each target, and what they share."""

    problem: Problem
    fits: list[CandidateFit]
    first_level: OutOfFold
    columns: Sequence[Any]
    stack_columns: StackColumns | None
    mixture: MixtureColumn

    @classmethod
    def of(
        cls,
        problem: Problem,
        folds: Folds,
        first_level: OutOfFold,
        columns: Sequence[Any],
        settings: CandidateSettings,
        mixture: MixtureColumn,
        deadline: Deadline | None = None,
    ) -> _SecondLevel:
        """As `fit_combination` takes it."""
        folds = folds.second_level(problem.y, problem.groups)
        first_level = first_level.mapped(partial(admissible, settings.likelihood))
        base = settings.features.base(problem.X)
        # Stacks of numbers may look at what the gate looks at; those of classes look at predictions only.
        stack_columns = None if problem.n_classes or base is None else StackColumns().fit(base)
        stack_features = None if stack_columns is None else stack_columns.dense(base)
        n_experts = len(first_level.names) - (mixture.column is not None)
        fits = [
            CandidateFit(
                problem.target(t), folds, base, stack_features,
                first_level if problem.n_targets is None else first_level.target(t, label=problem.several_labels),
                n_experts, mixture.n_regimes, settings, deadline,
            )
            for t in range(problem.n_targets or 1)
        ]  # fmt: skip
        return cls(problem, fits, first_level, columns, stack_columns, mixture)

    def close(self) -> bool:
        """Whether nested predictions could change a verdict already between candidates that need no gate."""
        return any(one.close() for one in self.fits)

    def fit(self) -> tuple[FittedBlend, set[str]]:
        """What was learned, and the candidates between which nested predictions could decide otherwise."""
        found = [one.fit() for one in self.fits]
        targets, mixture, settings = [target for target, _ in found], self.mixture, self.fits[0].settings
        names = [*self.first_level.names, *targets[0].stacks, "mean"]
        blend = FittedBlend(
            names, self.columns, settings.features, self.problem.n_targets, self.problem.n_classes, settings.top_k,
            targets, self.stack_columns, mixture.mixture, mixture.history, mixture.starts, self.first_level.failures,
            mixture.n_regimes,
        )  # fmt: skip
        return blend, set().union(*(rivals for _, rivals in found))


def fit_single_mixture(
    experts: Sequence[NamedExpert],
    problem: Problem,
    folds: Folds,
    engine: Engine,
    settings: MixtureSettings,
    on_error: str = "drop",
    deadline: Deadline | None = None,
    checkpoint: Checkpoint | None = None,
) -> FittedMixture:
    """The specialised mixture alone, without candidates; with a deadline, of a pool without what takes too long."""
    negligible = 0.0 if folds.in_sample else NEGLIGIBLE
    deadline = Deadline() if deadline is None else deadline
    if deadline.limited and settings.search.n_experts is not None:  # a pool
        with FitSession(experts, problem, folds, engine, on_error, negligible, deadline) as session:
            asked = settings.search.n_experts
            experts = [experts[e] for e in affordable(session, 2.0 if asked == "auto" else float(asked))]
    with FitSession(experts, problem, folds, engine, on_error, negligible, deadline, checkpoint) as session:
        return fit_mixture(session, settings)
