"""The two ways through fit: the plain mixture, and the honest table with its last gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.answers import Answers, Failure
from metamix.features import GateFeatures, StackColumns
from metamix.fitting import Fitted, FoldAverage, Workshop
from metamix.training.em import FLOOR, Alternation, Parts, alternate, drop_experts, final_gate
from metamix.training.pools import choose_types, prune
from metamix.training.proxies import proxy_responsibilities
from metamix.training.selection import Selection, Table, select
from metamix.training.starts import candidates, from_user, make_start, ranked

__all__ = ["Beginning", "Learned", "fit_plain", "fit_table"]

Array = NDArray[np.float64]


@dataclass
class Learned:
    """What a fit leaves behind, whichever way it went; columns in one order throughout."""

    names: list[str]
    columns: list[Any]  # Fitted or FoldAverage, each with answer(X); the stack is not among them
    stacker: Any
    stack_columns: StackColumns | None
    gate: Any
    likelihood: Any
    features: GateFeatures
    predictions: Array
    responsibilities: Array
    history: list[dict[str, Any]]
    failures: list[Failure]
    starts: list[dict[str, Any]] = field(default_factory=list)
    selection: Selection | None = None


@dataclass(frozen=True)
class Beginning:
    """How a plain mixture is to begin.

    `n_experts` is None for one component per expert, or the number of regimes, or "auto"; `alike` says
    that some experts are equal, so that a uniform start could not tell them apart.
    """

    start: Any
    n_experts: Any
    alike: bool
    max_rounds: int
    seed: int


def fit_plain(workshop: Workshop, parts: Parts, how: Beginning, refit: bool) -> Learned:
    """Experts refitted by responsibility under their own gate.

    Parameters
    ----------
    workshop : Workshop
        Open.
    parts : Parts
    how : Beginning
    refit : bool
        Fit the experts on all rows at the end, or keep the fold models.

    Returns
    -------
    Learned
    """
    data, folds = workshop.data, workshop.folds
    base = parts.features.base(data.X)
    begin, starts = _begin(workshop, parts, base, how)
    components = list(range(len(workshop.entries)))
    failures: list[Failure] = []
    if how.n_experts is not None:
        begin = prune(begin, data.weight)
        begin = (1 - FLOOR) * begin + FLOOR / begin.shape[1]
        components, failures = choose_types(workshop, begin)
    keep = not refit and not folds.in_sample
    result = alternate(workshop, parts, base, components, begin, how.max_rounds, keep=keep)
    result.failures = failures + result.failures
    columns, result = _refit_plain(workshop, parts, base, result, refit)
    best = result.best
    learned = best.learned if folds.in_sample else final_gate(workshop, parts, base, best)
    return Learned(
        best.answers.names,
        columns,
        None,
        None,
        learned.gate,
        best.likelihood,
        parts.features,
        best.answers.values,
        best.responsibilities,
        result.history,
        result.failures,
        starts,
    )


def _begin(workshop: Workshop, parts: Parts, base: Any, how: Beginning) -> tuple[Array, list[dict[str, Any]]]:
    """First responsibilities, and the ranking of the starts that were looked at."""
    data, in_sample, pool = workshop.data, workshop.folds.in_sample, len(workshop.entries)
    K = pool if how.n_experts is None else None if how.n_experts == "auto" else int(how.n_experts)
    if not isinstance(how.start, str):
        return from_user(how.start, data.n, K), []
    target = data.y[:, None] if data.n_classes is None else np.eye(data.n_classes)[data.y]
    clusters = data.X if base is None else base
    searching = not in_sample and (how.alike or how.n_experts is not None)
    if how.start == "proxy" or K is None or (how.start == "auto" and searching):
        found, ranking = proxy_responsibilities(
            clusters, target.astype(np.float64), data.weight, parts.proxy_gate, K, how.seed
        )
        if how.start in ("proxy", "auto"):
            return found, ranking
        K = found.shape[1]  # cheap mixtures count the regimes, the user's start finds them
    names = candidates(in_sample) if how.start == "auto" else [(how.start, 0)]
    listed = [(name, make_start(name, clusters, target[:, 0], K, how.seed + s, data.weight)) for name, s in names]
    components = list(range(pool))

    def score(first: Array) -> float:
        return -alternate(workshop, parts, base, components, first, 10).best.log_likelihood

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


def fit_table(
    workshop: Workshop,
    n_experts: int,
    table: Table,
    refit: bool,
    stack_columns: StackColumns | None,
    known: tuple[list[int], Answers, dict[int, Fitted]] | None = None,
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
    known : (positions, Answers, fitted), optional
        Answers and fits on all rows that are there already.

    Returns
    -------
    Learned
    """
    fitted: dict[int, Any] = {}
    if known is None:
        alive, answers = workshop.cross_fit(keep=not refit)
    else:
        alive, answers, fitted = known
        more = [k for k in range(len(workshop.entries)) if k not in alive and k >= n_experts]
        if more:
            also, others = workshop.cross_fit(more, keep=not refit, needed=False)
            alive, answers = alive + [more[j] for j in also], answers.join(others)
    failures = list(answers.failures)
    if not any(k < n_experts for k in alive):
        workshop.raise_all_failed(failures)
    if refit:
        missing = [k for k in alive if k not in fitted]
        rest, more_failures = workshop.fit_all(missing, needed=False)
        fitted, failures = (
            {**fitted, **{missing[j]: one for j, one in rest.items()}},
            failures + more_failures,
        )
        kept = [k for k in alive if k in fitted]
        if kept != alive:
            answers, alive = answers.take([alive.index(k) for k in kept]), kept
            if not any(k < n_experts for k in alive):
                workshop.raise_all_failed(failures)
        columns = [fitted[k] for k in alive]
    else:
        columns = _averages(workshop, answers)
    answers.failures = failures
    chosen = select(table.with_answers(answers, sum(k < n_experts for k in alive)))
    return Learned(
        [*answers.names, "stack"],
        columns,
        chosen.stacker,
        stack_columns,
        chosen.learned.gate,
        chosen.likelihood,
        table.features,
        chosen.predictions,
        chosen.responsibilities,
        [],
        failures,
        selection=chosen,
    )
