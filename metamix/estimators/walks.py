"""What a fit leaves behind, and the first way through it: the plain mixture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures, StackColumns
from metamix.fitting import FitSession, FittedExpert, FoldAverage
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.training.bending import bend_of
from metamix.training.em import FLOOR, Alternation, alternate, drop_experts, final_gates, flat, single
from metamix.training.estep import Parts
from metamix.training.joining import Scatter
from metamix.training.pools import best_single, choose_types, regimes_pay, row_losses, target_units
from metamix.training.selection import Selection
from metamix.training.starts import Beginning, begin, candidates, make_start, prune, ranked

__all__ = ["Known", "Learned", "Side", "averages", "best_column", "fit_plain"]

Array = NDArray[np.float64]


@dataclass
class Side:
    """What was learned about one target."""

    gate: Any
    likelihood: Any
    stacker: Any
    predictions: Array
    responsibilities: Array
    selection: Selection | None = None
    scatter: Scatter | None = None  # where standard deviations follow the plain mixture's


@dataclass
class Learned:
    """What a fit leaves behind, whichever way it went; columns in one order throughout."""

    names: list[str]
    columns: list[Any]  # FittedExpert or FoldAverage, each with answer(X); the stack is not among them
    stack_columns: StackColumns | None
    features: GateFeatures
    sides: list[Side]  # one for each target
    n_targets: int | None  # T, or None where y has no such axis
    history: list[dict[str, Any]]
    failures: list[Failure]
    starts: list[dict[str, Any]] = field(default_factory=list)
    n_regimes: int | None = None


@dataclass(frozen=True)
class Known:
    """OutOfFold and fits on all rows that are there already, by position among the entries."""

    folds: Folds
    alive: list[int]
    answers: OutOfFold
    fitted: dict[int, FittedExpert]


def fit_plain(
    session: FitSession, parts: Parts, how: Beginning, max_rounds: int, refit: bool, known: Known | None = None
) -> Learned:
    """Experts refitted by responsibility under their own gate.

    Parameters
    ----------
    session : FitSession
        Open.
    parts : Parts
    how : Beginning
    max_rounds : int
    refit : bool
        Fit the experts on all rows at the end, or keep the fold models.
    known : Known, optional
        For one regime: what was learned on all rows alike.

    Returns
    -------
    Learned
    """
    data, folds = session.data, session.folds
    base = parts.features.base(data.X)
    if known is not None:
        best = best_column(session, known.answers, np.flatnonzero(folds.held_out))
        result = single(session, parts, base, known.alive[best], known.answers.take([best]))
        columns: list[Any] = [known.fitted[known.alive[best]]]
        starts: list[dict[str, Any]] = []
    else:
        keep = not refit and not folds.in_sample
        first, starts = _first(session, parts, base, how, keep)
        components = list(range(len(session.entries)))
        failures: list[Failure] = []
        if how.n_experts is not None:
            first = prune(first, data.weight)
        if how.n_experts is not None or (how.searches and np.ptp(first) > 0 and not folds.in_sample):
            first = (1 - FLOOR) * first + FLOOR / first.shape[1]
            components, failures = choose_types(session, first, each_once=how.n_experts is None, keep=keep)
            if how.n_experts is None:  # columns keep the order of the experts
                order = np.argsort(components, kind="stable")
                components, first = [components[k] for k in order], first[:, order]
        pruned = how.n_experts is not None
        result = alternate(session, parts, base, components, first, max_rounds, keep=keep, prune=pruned)
        result.failures = failures + result.failures
        if how.n_experts == "auto" and how.searches and len(result.best.alive) > 1:
            result = _one_is_enough(session, parts, base, result, max_rounds, keep)
        columns, result = _refit_plain(session, parts, base, result, refit)
    best_round = result.best
    gates = [face.learned for face in best_round.faces]
    if not folds.in_sample:
        gates = final_gates(session, parts, base, best_round)
    answers, several = best_round.answers, data.n_targets is not None
    sides = [
        Side(
            gate.gate,
            face.likelihood,
            None,
            answers.values[:, :, t] if several else answers.values,
            face.responsibilities,
        )
        for t, (face, gate) in enumerate(zip(best_round.faces, gates, strict=True))
    ]
    return Learned(
        answers.names, columns, None, parts.features, sides, data.n_targets, result.history, result.failures, starts
    )


def _one_is_enough(
    session: FitSession, parts: Parts, base: Any, several: Alternation, max_rounds: int, keep: bool
) -> Alternation:
    """The best single expert instead of several regimes, where it answers held-out rows better than all of them."""
    data = session.data
    if data.n_classes is None and not parts.by_error:  # a density is not compared with an error
        return several
    entry, losses, rows = best_single(session, keep)
    best, weight = several.best, np.where(several.best.learned.judged[rows], data.weight[rows], 0.0)
    if not weight @ losses < weight @ best.row_loss[rows]:
        return several
    alone = alternate(session, parts, base, [entry], np.ones((data.n, 1)), max_rounds, keep=keep)
    judged = np.flatnonzero(several.best.learned.judged & alone.best.learned.judged)  # those were a few of the folds
    known, with_regimes, without = data.take(judged), several.best.row_loss[judged], alone.best.row_loss[judged]
    if known.weight.any() and regimes_pay(with_regimes, without, known):
        return several
    return Alternation(alone.best, several.history + alone.history, several.failures + alone.failures)


def _first(
    session: FitSession, parts: Parts, base: Any, how: Beginning, keep: bool
) -> tuple[Array, list[dict[str, Any]]]:
    """First responsibilities, and the ranking of the starts that were looked at."""
    data, folds = session.data, session.folds
    columns = data.X if base is None else base
    if how.mimics and not folds.in_sample:
        _, losses, rows = best_single(session, keep)
        how = replace(how, bends=bend_of(columns, data, folds, rows, losses, how.seed))
    if not (folds.in_sample and isinstance(how.start, str) and how.start == "auto"):
        return begin(data, columns, parts.proxy_gate, how)
    # In sample a round is cheap: clusters and random soft starts compete on the likelihood itself.
    first = data.y.reshape(data.n, -1)[:, 0].astype(np.float64)
    listed = [(name, make_start(name, columns, first, how.pool, how.seed + s, data.weight)) for name, s in candidates()]
    components = list(range(how.pool))

    def score(start: Array) -> float:
        return -alternate(session, parts, base, components, start, 10).best.log_likelihood

    return ranked(listed, score)


def _refit_plain(
    session: FitSession, parts: Parts, base: Any, result: Alternation, refit: bool
) -> tuple[list[Any], Alternation]:
    best = result.best
    if session.folds.in_sample:
        return [best.answers.models[name, 0] for name in best.answers.names], result
    if not refit:
        return averages(session, best.answers), result
    fitted, failures = session.fit_all(best.alive, None if flat(best.weights) else best.weights)
    result.failures += failures
    if len(fitted) < len(best.alive):
        result.best = drop_experts(session, parts, base, best, list(fitted))
    return list(fitted.values()), result


def averages(session: FitSession, answers: OutOfFold) -> list[Any]:
    """The fold models of each expert, answering together."""
    folds = range(len(session.folds))
    return [FoldAverage(name, [answers.models[name, f] for f in folds]) for name in answers.names]


def best_column(session: FitSession, answers: OutOfFold, rows: NDArray[np.intp]) -> int:
    """Column with the smallest out-of-fold loss over some rows."""
    data = session.data.take(rows)
    return int(np.argmin(data.weight @ row_losses(data, answers.values[rows], target_units(session.data))))
