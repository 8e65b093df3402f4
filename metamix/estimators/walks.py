"""The two ways through fit: the plain mixture, and the honest table with its last gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.answers import Answers, Failure
from metamix.features import GateFeatures, StackColumns
from metamix.fitting import Fitted, FoldAverage, Workshop
from metamix.folds import Folds
from metamix.training.em import FLOOR, Alternation, alternate, drop_experts, final_gates, single
from metamix.training.estep import Parts
from metamix.training.pools import best_single, choose_types, row_losses
from metamix.training.selection import Selection, Table, select
from metamix.training.starts import Beginning, Scouting, begin, candidates, make_start, prune, ranked, scout

__all__ = ["Known", "Learned", "Side", "Specialist", "fit_plain", "fit_table"]

Array = NDArray[np.float64]

# Within an outer fold the plain mixture is cross-fitted on so many folds: every one costs a fit per component.
INNER_FOLDS = 2


@dataclass
class Side:
    """What was learned about one target."""

    gate: Any
    likelihood: Any
    stacker: Any
    predictions: Array
    responsibilities: Array
    selection: Selection | None = None


@dataclass
class Learned:
    """What a fit leaves behind, whichever way it went; columns in one order throughout."""

    names: list[str]
    columns: list[Any]  # Fitted or FoldAverage, each with answer(X); the stack is not among them
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
    """Answers and fits on all rows that are there already, by position among the entries."""

    folds: Folds
    alive: list[int]
    answers: Answers
    fitted: dict[int, Fitted]


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
    single: Callable[[Known], Fitted]


def fit_plain(
    workshop: Workshop, parts: Parts, how: Beginning, max_rounds: int, refit: bool, known: Known | None = None
) -> Learned:
    """Experts refitted by responsibility under their own gate.

    Parameters
    ----------
    workshop : Workshop
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
    data, folds = workshop.data, workshop.folds
    base = parts.features.base(data.X)
    if known is not None:
        best = _best_single(workshop, known.answers, np.flatnonzero(folds.honest))
        result = single(workshop, parts, base, known.alive[best], known.answers.take([best]))
        columns: list[Any] = [known.fitted[known.alive[best]]]
        starts: list[dict[str, Any]] = []
    else:
        first, starts = _first(workshop, parts, base, how)
        components = list(range(len(workshop.entries)))
        failures: list[Failure] = []
        if how.n_experts is not None:
            first = prune(first, data.weight)
        if how.n_experts is not None or (how.searches and np.ptp(first) > 0 and not folds.in_sample):
            first = (1 - FLOOR) * first + FLOOR / first.shape[1]
            components, failures = choose_types(workshop, first, each_once=how.n_experts is None)
        keep, pruned = not refit and not folds.in_sample, how.n_experts is not None
        result = alternate(workshop, parts, base, components, first, max_rounds, keep=keep, prune=pruned)
        result.failures = failures + result.failures
        if how.n_experts == "auto" and how.searches and len(result.best.alive) > 1:
            result = _one_is_enough(workshop, parts, base, result, max_rounds, keep)
        columns, result = _refit_plain(workshop, parts, base, result, refit)
    best_round = result.best
    gates = [face.learned for face in best_round.faces]
    if not folds.in_sample:
        gates = final_gates(workshop, parts, base, best_round)
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
    workshop: Workshop, parts: Parts, base: Any, several: Alternation, max_rounds: int, keep: bool
) -> Alternation:
    """The best single expert instead of several regimes, where it answers held-out rows better than all of them."""
    data = workshop.data
    if data.n_classes is None and not parts.by_error:  # a density is not compared with an error
        return several
    entry, losses, rows = best_single(workshop)
    best, weight = several.best, np.where(several.best.learned.judged[rows], data.weight[rows], 0.0)
    if not weight @ losses < weight @ best.row_loss[rows]:
        return several
    alone = alternate(workshop, parts, base, [entry], np.ones((data.n, 1)), max_rounds, keep=keep)
    return Alternation(alone.best, several.history + alone.history, several.failures + alone.failures)


def _first(workshop: Workshop, parts: Parts, base: Any, how: Beginning) -> tuple[Array, list[dict[str, Any]]]:
    """First responsibilities, and the ranking of the starts that were looked at."""
    data = workshop.data
    columns = data.X if base is None else base
    if not (workshop.folds.in_sample and isinstance(how.start, str) and how.start == "auto"):
        return begin(data, columns, parts.proxy_gate, how)
    # In sample a round is cheap: clusters and random soft starts compete on the likelihood itself.
    first = data.y.reshape(data.n, -1)[:, 0].astype(np.float64)
    listed = [(name, make_start(name, columns, first, how.pool, how.seed + s, data.weight)) for name, s in candidates()]
    components = list(range(how.pool))

    def score(start: Array) -> float:
        return -alternate(workshop, parts, base, components, start, 10).best.log_likelihood

    return ranked(listed, score)


def _refit_plain(
    workshop: Workshop, parts: Parts, base: Any, result: Alternation, refit: bool
) -> tuple[list[Any], Alternation]:
    best = result.best
    if workshop.folds.in_sample:
        return [best.answers.models[name, 0] for name in best.answers.names], result
    if not refit:
        return _averages(workshop, best.answers), result
    uniform = bool(np.ptp(best.weights) < 1e-12)
    fitted, failures = workshop.fit_all(best.alive, None if uniform else best.weights)
    result.failures += failures
    if len(fitted) < len(best.alive):
        result.best = drop_experts(workshop, parts, base, best, list(fitted))
    return list(fitted.values()), result


def _averages(workshop: Workshop, answers: Answers) -> list[Any]:
    folds = range(len(workshop.folds))
    return [FoldAverage(name, [answers.models[name, f] for f in folds]) for name in answers.names]


def _best_single(workshop: Workshop, answers: Answers, rows: NDArray[np.intp]) -> int:
    """Column with the smallest out-of-fold loss over some rows."""
    data = workshop.data.take(rows)
    return int(np.argmin(data.weight @ row_losses(data, answers.values[rows])))


def fit_table(
    workshop: Workshop,
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
    workshop : Workshop
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
        alive, answers = workshop.cross_fit(list(range(n_experts)), keep=not refit)
        known = Known(workshop.folds, alive, answers, {})
    failures = list(known.answers.failures)
    if refit:
        known, more = _fitted_on_all(workshop, known)
        failures += more
        columns: list[Any] = [known.fitted[k] for k in known.alive]
    else:
        columns = _averages(workshop, known.answers)
    answers, starts, n_regimes = known.answers, [], None
    if specialist is not None:
        found = _specialised(workshop, n_experts, specialist, known, refit)
        failures += found.failures
        starts, n_regimes = found.starts, found.n_regimes
        if found.column is not None:
            answers, columns = answers.join(found.answers), [*columns, found.column]
    answers = replace(answers, failures=failures)
    table = table.with_answers(answers, len(known.alive))
    chosen = [select(one) for one in table.targets()]
    sides = [
        Side(one.learned.gate, one.likelihood, one.stacker, one.predictions, one.responsibilities, one)
        for one in chosen
    ]
    names = [*answers.names, "stack"]
    T = table.data.n_targets
    return Learned(names, columns, stack_columns, table.features, sides, T, [], failures, starts, n_regimes)


def _fitted_on_all(workshop: Workshop, known: Known) -> tuple[Known, list[Failure]]:
    """The same with every expert fitted on all rows; those that fail there are left out."""
    missing = [k for k in known.alive if k not in known.fitted]
    rest, failures = workshop.fit_all(missing, needed=False)
    fitted = {**known.fitted, **{missing[j]: one for j, one in rest.items()}}
    kept = [k for k in known.alive if k in fitted]
    if not kept:
        workshop.raise_all_failed([*known.answers.failures, *failures])
    answers = known.answers
    if kept != known.alive:
        answers = answers.take([known.alive.index(k) for k in kept])
    return Known(known.folds, kept, answers, {k: fitted[k] for k in kept}), failures


@dataclass
class _Specialised:
    """The plain mixture's column of the honest table; None where it failed."""

    answers: Answers
    column: Any
    starts: list[dict[str, Any]]
    n_regimes: int
    failures: list[Failure]


def _specialised(workshop: Workshop, which: int, specialist: Specialist, known: Known, refit: bool) -> _Specialised:
    """Cross-fit the plain mixture as a whole: where one regime is found, the best single expert answers for it."""
    folds, name = workshop.folds, workshop.entries[which].name
    where = [*range(len(folds)), *([-1] if refit else [])]
    jobs = [Scouting(f, specialist.features, specialist.gate, specialist.how) for f in where]
    names = [f"regimes, {'all rows' if f < 0 else f'fold {f}'}" for f in where]
    scouted = dict(zip(where, workshop.each(scout, jobs, names), strict=True))
    params = {f: _told(workshop, f, first) for f, (first, _) in scouted.items()}
    several = [f for f in range(len(folds)) if scouted[f][0].shape[1] > 1]
    kept, found = workshop.cross_fit([which], keep=not refit, needed=False, only=several, params=params)
    starts, K = scouted[where[-1]][1], scouted[where[-1]][0].shape[1]
    answers = found
    if kept:
        answers = _with_singles(workshop, known, several, found)
        # What regimes gain is judged by the experts' own answers, on rows that other folds held out.
        paying = [f for f in (*several, -1) if _pays(workshop, known, answers, f)]
        several, K = [f for f in several if f in paying], K if -1 in paying else 1
        answers = _with_singles(workshop, known, several, found)
    out = _Specialised(replace(answers, failures=[]), None, starts, K, list(found.failures))
    if not kept:
        return out
    if not refit:
        members = []
        for f in range(len(folds)):
            source = answers.names[0] if f in several else known.answers.names[_single_of(workshop, known, f)]
            members.append((found if f in several else known.answers).models[source, f])
        out.column = FoldAverage(name, members)
    elif K == 1:
        out.column = replace(specialist.single(known), name=name)
    else:
        fitted, failures = workshop.fit_all([which], needed=False, params=params[-1])
        out.failures += failures
        out.column = fitted.get(0)
    return out


def _pays(workshop: Workshop, known: Known, answers: Answers, f: int) -> bool:
    """Whether the mixture answers better than the best single expert, on the rows a fold may learn from (-1: all)."""
    folds = workshop.folds
    rows = np.flatnonzero(folds.honest) if f < 0 else folds.learners(f)
    data = workshop.data.take(rows)
    best = _best_single(workshop, known.answers, rows)
    loss = row_losses(data, np.stack([answers.values[rows, 0], known.answers.values[rows, best]], axis=1))
    return bool(data.weight @ loss[:, 0] < data.weight @ loss[:, 1])


def _told(workshop: Workshop, f: int, first: Array) -> Mapping[str, Any]:
    """What the plain mixture is told in a fold, or for all rows (-1): folds and start of its rows."""
    data = workshop.data
    if f < 0:
        inner = workshop.folds
    else:
        part = data.take(workshop.folds.pairs[f][0])
        inner = workshop.folds.inside(f, part.X, part.y, part.groups)
    inner = inner.merged(INNER_FOLDS)
    return {"cv": list(inner.pairs), "start": first, "n_experts": first.shape[1]}


def _single_of(workshop: Workshop, known: Known, f: int) -> int:
    return _best_single(workshop, known.answers, workshop.folds.learners(f))


def _with_singles(workshop: Workshop, known: Known, several: list[int], found: Answers) -> Answers:
    """The mixture's answers, with those of the best single expert for folds that have one regime."""
    folds = workshop.folds
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
        test, best = folds.pairs[f][1], _single_of(workshop, known, f)
        values[test, 0] += known.answers.values[test, best]
        times[test] += 1
        if scale is not None:
            scale[test, 0] = np.nan if known.answers.scale is None else known.answers.scale[test, best]
    with np.errstate(invalid="ignore"):
        return replace(found, values=values / times.reshape(shape), scale=scale)
